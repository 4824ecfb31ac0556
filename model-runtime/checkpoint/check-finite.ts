/** Looks for NaN and infinity in a checkpoint's weights, on their bit patterns, while it is loaded. */
import { join } from "node:path";
import { UserError } from "../errors";
import type { Checkpoint, TensorLocation } from "./checkpoint";
import type { FloatDtype } from "./encode-values";
import { hashTableName } from "./expected-tensors";
import { columnCount, elementBytes, readChunks } from "./tensor-data";

export interface CheckFiniteOptions {
  /** Larger hash tables are passed over. Default 256 MiB. */
  hashTableBytes?: number;
}

/**
 * Throws a `UserError` that names the first tensor with a NaN or an infinity and where in it that is. Hash tables above
 * the limit are left out: they are made for being read row by row, and reading all of one (12 GB in blt-1b) would take
 * longer than everything else at load; a bad row shows in the bytes that use it only.
 */
export function checkFinite(
  checkpoint: Pick<Checkpoint, "tensors" | "hashTables">,
  options: CheckFiniteOptions = {},
): void {
  const { hashTableBytes = 256 * 2 ** 20 } = options;
  const { tensors, hashTables } = checkpoint;
  const fused = tensors.get(hashTableName);
  const tables = fused === undefined ? hashTables : [fused];
  const tableLength = tables.reduce((sum, table) => sum + table.length, 0);
  const others = [...tensors.values()].filter((location) => location !== fused);
  for (const location of tableLength <= hashTableBytes ? [...others, ...tables] : others) checkTensor(location);
}

function checkTensor(location: TensorLocation): void {
  if (location.dtype === "I8" || location.dtype === "U8") return;
  const bytes = elementBytes[location.dtype];
  let done = 0;
  for (const chunk of readChunks(location)) {
    if (hasNonFinite(location.dtype, chunk)) {
      const index = done + firstNonFinite(location.dtype, chunk);
      const columns = columnCount(location);
      const position = location.shape.length > 1 ? `${Math.floor(index / columns)}, ${index % columns}` : `${index}`;
      throw new UserError(
        `Tensor ${location.name} in ${join(location.directory, location.file)} is not a finite number at [${position}]; the checkpoint is damaged or its training diverged.`,
      );
    }
    done += chunk.length / bytes;
  }
}

/** The bits of the exponent, all ones in NaN and infinity; and one at its lowest place. A 16-bit type fills the word twice. */
const exponents: Readonly<Record<FloatDtype, { mask: number; one: number }>> = {
  F32: { mask: 0x7f800000, one: 0x00800000 },
  F16: { mask: 0x7c007c00, one: 0x04000400 },
  BF16: { mask: 0x7f807f80, one: 0x00800080 },
};

/** Adding one to an exponent of all ones carries into the sign's place and no further, so a word is tested without a branch. */
function hasNonFinite(dtype: FloatDtype, bytes: Uint8Array): boolean {
  const { mask, one } = exponents[dtype];
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
  let carried = 0;
  for (let i = 0; i < words.length; i++) carried |= (words[i] & mask) + one;
  const carryBits = dtype === "F32" ? 0x80000000 : 0x80008000;
  const rest = bytes.subarray(words.length * 4);
  return (carried & carryBits) !== 0 || (rest.length > 0 && firstNonFinite(dtype, rest) >= 0);
}

function firstNonFinite(dtype: FloatDtype, bytes: Uint8Array): number {
  const { buffer, byteOffset, length } = bytes;
  const elements =
    dtype === "F32" ? new Uint32Array(buffer, byteOffset, length / 4) : new Uint16Array(buffer, byteOffset, length / 2);
  const mask = dtype === "F32" ? exponents.F32.mask : exponents[dtype].mask & 0xffff;
  return elements.findIndex((bits) => (bits & mask) === mask);
}
