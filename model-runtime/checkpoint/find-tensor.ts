/** Looks up a tensor that a configuration implies, with what belongs to its stored form, and compares its shape. */
import { join } from "node:path";
import { UserError } from "../errors";
import type { Dtype, TensorLocation } from "./checkpoint";
import type { Quantization } from "./config";
import { BLOCK_SIZE, elementBytes, minimumName, scaleName } from "./tensor-data";
import type { StoredTensor } from "./weight-files";

/** Tensors of a folder by Hugging Face name. */
export type Stored = Map<string, StoredTensor>;

/**
 * The tensor `name` of a shape, and its scales and minima where it is quantised (docs/checkpoint-format.md).
 * @param quantization what `quantization_config` says; null refuses int8 weights
 */
export function findTensor(
  name: string,
  shape: number[],
  stored: Stored,
  root: string,
  quantization: Quantization | null,
): TensorLocation[] {
  if (quantization?.startsWith("blt-blocks") && stored.get(name)?.dtype === "U8") {
    const parts = quantization === "blt-blocks" ? [scaleName(name), minimumName(name)] : [scaleName(name)];
    return findBlocks(name, shape, parts, stored, root);
  }
  const location = locate(name, shape, stored, root);
  if (location.dtype === "U8") {
    throw new UserError(
      `Tensor ${name} in ${join(location.directory, location.file)} has type U8; convert the checkpoint to F32, F16 or BF16.`,
    );
  }
  if (location.dtype !== "I8") return [location];
  if (quantization === null) {
    throw new UserError(
      `Tensor ${name} in ${join(location.directory, location.file)} is int8, but config.json has no "quantization_config"; quantise the checkpoint again.`,
    );
  }
  return [location, ofType("F32", locate(scaleName(name), [shape[0]], stored, root))];
}

/** The tensor `name`, which must have this shape and a type that can be computed with. */
export function locate(name: string, shape: number[], stored: Stored, root: string): TensorLocation {
  const tensor = stored.get(name);
  if (tensor === undefined) {
    throw new UserError(
      `Tensor ${name} of shape [${shape}] is missing in ${root}; the checkpoint is incomplete or its config.json is another model's.`,
    );
  }
  const path = join(tensor.directory, tensor.file);
  if (tensor.shape.length !== shape.length || tensor.shape.some((size, axis) => size !== shape[axis])) {
    throw new UserError(
      `Tensor ${tensor.storedName} in ${path} has shape [${tensor.shape}], but config.json implies [${shape}]; one of the two is another model's.`,
    );
  }
  if (!Object.hasOwn(elementBytes, tensor.dtype)) {
    throw new UserError(
      `Tensor ${tensor.storedName} in ${path} has type ${tensor.dtype}; convert the checkpoint to F32, F16 or BF16.`,
    );
  }
  const { directory, file, offset, length } = tensor;
  return { name, dtype: tensor.dtype as Dtype, shape, file, directory, offset, length };
}

/** [O, I] in blocks: numbers [O, I / 32, 16], and `parts`: scales and perhaps minima [O, I / 32]. */
function findBlocks(
  name: string,
  [outputs, inputs]: number[],
  parts: string[],
  stored: Stored,
  root: string,
): TensorLocation[] {
  const blocks = inputs / BLOCK_SIZE;
  return [
    locate(name, [outputs, blocks, BLOCK_SIZE / 2], stored, root),
    ...parts.map((part) => ofType("F16", locate(part, [outputs, blocks], stored, root))),
  ];
}

function ofType(dtype: Dtype, location: TensorLocation): TensorLocation {
  if (location.dtype === dtype) return location;
  throw new UserError(
    `Tensor ${location.name} in ${join(location.directory, location.file)} is ${location.dtype}, but must be ${dtype}.`,
  );
}
