/** Writing a checkpoint anew in the Hugging Face layout: Meta's names renamed, hash tables fused, one type for all. */
import { join } from "node:path";
import type { Checkpoint, Dtype, TensorLocation } from "./checkpoint";
import type { BltConfig } from "./config";
import { encodeValues, type FloatDtype } from "./encode-values";
import { hashTableName } from "./expected-tensors";
import { formatConfig } from "./format-config";
import { writeOutputFolder } from "./output-folder";
import { matrixShape, readChunks, readRowBlocks, readTensor, readWeight, rowCount, scaleName } from "./tensor-data";
import { type TensorSource, type WriteOptions, writeSafetensors, writeTextFile } from "./write-safetensors";

/** Progress, interruption and the disk itself, as `writeSafetensors` takes them. */
export type OutputOptions = Omit<WriteOptions, "metadata">;

export interface ConvertOptions extends OutputOptions {
  /** Type of every tensor; `keep` (default) leaves each as it is, int8 with its scales included. */
  dtype?: FloatDtype | "keep";
}

/**
 * Writes the checkpoint to `output` in the Hugging Face layout (config.json with every setting in force, and
 * model.safetensors, entropy model included), streaming. Open it with `meta` semantics, as the windows in force are
 * written out. Throws `UserError`; nothing is left behind by a failure.
 */
export async function convertCheckpoint(
  checkpoint: Checkpoint,
  output: string,
  options: ConvertOptions = {},
): Promise<void> {
  const { dtype = "keep", ...rest } = options;
  const { tensors, hashTables, config } = checkpoint;
  const sources: TensorSource[] = [];
  for (const [name, location] of tensors) {
    if (name.startsWith(hashTableName)) continue;
    if (dtype === "keep") sources.push(copied(name, [location]));
    else if (location.dtype === "U8") sources.push(expanded(checkpoint, location, dtype));
    else if (name.endsWith(".weight")) {
      const scales = tensors.get(scaleName(name)) ?? null;
      sources.push(converted(name, [{ ...location, scales }], dtype));
    }
  }
  if (hashTables.length > 0) {
    const sameType = hashTables.every((table) => table.dtype === hashTables[0].dtype);
    if (dtype === "keep" && sameType) {
      sources.push(copied(hashTableName, hashTables));
      const scales = hashTables.flatMap((table) => table.scales ?? []);
      if (scales.length > 0) sources.push(copied(scaleName(hashTableName), scales));
    } else {
      sources.push(converted(hashTableName, hashTables, dtype === "keep" ? "F32" : dtype));
    }
  }
  const quantization = dtype === "keep" ? config.quantization : null;
  await writeCheckpoint(checkpoint, { ...config, quantization }, sources, output, rest);
}

/** Writes `config` and `tensors` as the two files of a checkpoint made from `source`. */
export async function writeCheckpoint(
  source: Checkpoint,
  config: BltConfig,
  tensors: TensorSource[],
  output: string,
  options: OutputOptions,
): Promise<void> {
  if (config.semantics !== "meta") throw new Error("A checkpoint opened with hf semantics has lost its windows.");
  await writeOutputFolder(source.directory, output, async (folder) => {
    await writeSafetensors(join(folder, "model.safetensors"), tensors, { ...options, metadata: { format: "pt" } });
    await writeTextFile(join(folder, "config.json"), `${JSON.stringify(formatConfig(config), null, 2)}\n`);
  });
}

type ScaledLocation = TensorLocation & { scales: TensorLocation | null };

function copied(name: string, parts: TensorLocation[]): TensorSource {
  return {
    name,
    dtype: parts[0].dtype,
    shape: joinedShape(parts),
    *chunks() {
      for (const part of parts) yield* readChunks(part);
    },
  };
}

function converted(name: string, parts: ScaledLocation[], dtype: FloatDtype & Dtype): TensorSource {
  return {
    name,
    dtype,
    shape: joinedShape(parts),
    *chunks() {
      for (const part of parts) {
        const scales = part.scales === null ? undefined : readTensor(part.scales);
        for (const values of readRowBlocks(part, scales)) yield encodeValues(values, dtype, name);
      }
    },
  };
}

/** A matrix of 4-bit blocks. */
function expanded(checkpoint: Checkpoint, location: TensorLocation, dtype: FloatDtype): TensorSource {
  const { name } = location;
  return {
    name,
    dtype,
    shape: matrixShape(location),
    *chunks() {
      yield encodeValues(readWeight(checkpoint, name), dtype, name);
    },
  };
}

/** Parts follow each other along the rows. */
function joinedShape(parts: TensorLocation[]): number[] {
  return [parts.reduce((sum, part) => sum + rowCount(part), 0), ...parts[0].shape.slice(1)];
}
