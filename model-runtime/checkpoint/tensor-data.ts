/**
 * Values of tensors from their files, as F32. Shapes: R rows, C columns; a matrix is [R, C] row-major, a vector [R]
 * counts as R rows of one column. The host is little-endian, as the format is.
 */
import { closeSync } from "node:fs";
import { join } from "node:path";
import type { Dtype, TensorLocation, Weights } from "./checkpoint";
import { openFile, readFully } from "./file-access";
import { halfValues } from "./half";

/** Bytes read at a time where a tensor is passed through and not kept. */
const chunkBytes = 4 * 2 ** 20;

/** Values converted at a time. */
const blockValues = 2 ** 20;

/** Bytes of one element. */
export const elementBytes: Readonly<Record<Dtype, number>> = { F32: 4, F16: 2, BF16: 2, I8: 1, U8: 1 };

/** Inputs of one block of 4-bit numbers. */
export const BLOCK_SIZE = 32;

/** The weight `name` of a checkpoint as F32, [R C] values; int8 rows and 4-bit blocks are expanded. */
export function readWeight(checkpoint: Weights, name: string): Float32Array {
  const location = checkpoint.tensors.get(name);
  if (location === undefined) throw new Error(`No tensor ${name} in ${checkpoint.directory}.`);
  if (location.dtype === "U8") return readBlocks(checkpoint, name, location);
  const scales = location.dtype === "I8" ? readTensor(checkpoint.tensors.get(scaleName(name))!) : undefined;
  return readTensor(location, scales);
}

/** Shape of the matrix whose stored form a tensor is: that of 4-bit blocks is [R, C / 32, 16]. */
export function matrixShape({ dtype, shape }: TensorLocation): number[] {
  return dtype === "U8" ? [shape[0], shape[1] * BLOCK_SIZE] : shape;
}

function readBlocks(checkpoint: Weights, name: string, location: TensorLocation): Float32Array {
  const pairs = readBytes(location);
  const scales = readTensor(checkpoint.tensors.get(scaleName(name))!);
  const stored = checkpoint.tensors.get(minimumName(name));
  const minima = stored === undefined ? scales.map((scale) => -8 * scale) : readTensor(stored);
  const values = new Float32Array(2 * pairs.length);
  for (let i = 0; i < pairs.length; i++) {
    const block = Math.floor((2 * i) / BLOCK_SIZE);
    values[2 * i] = scales[block] * (pairs[i] & 15) + minima[block];
    values[2 * i + 1] = scales[block] * (pairs[i] >> 4) + minima[block];
  }
  return values;
}

/** Name of the F32 [R] scales of an int8 weight. */
export function scaleName(name: string): string {
  return `${name}_scale`;
}

/** Name of the minima of a weight in 4-bit blocks. */
export function minimumName(name: string): string {
  return `${name}_min`;
}

/** All values of a tensor as F32 [R C]; `scales` [R] are the row scales of an I8 tensor, which needs them. */
export function readTensor(location: TensorLocation, scales?: Float32Array): Float32Array {
  return readRows(location, 0, rowCount(location), scales);
}

/** Rows `first` to `first + count` as F32 [count C]; `scales` [R] are those of the whole I8 tensor. */
export function readRows(location: TensorLocation, first: number, count: number, scales?: Float32Array): Float32Array {
  const columns = columnCount(location);
  const values = new Float32Array(count * columns);
  const bytes = elementBytes[location.dtype];
  const start = first * columns * bytes;
  if (location.dtype === "F32") {
    withFile(location, (descriptor, path) => readFully(descriptor, byteView(values), location.offset + start, path));
    return values;
  }
  let done = 0;
  for (const chunk of readChunks(location, start, values.length * bytes)) {
    decodeInto(location.dtype, chunk, values, done);
    done += chunk.length / bytes;
  }
  if (location.dtype === "I8") scaleRows(values, columns, scales!.subarray(first, first + count));
  return values;
}

/** The tensor as F32 in blocks of whole rows, about a million values each; `scales` as in `readTensor`. */
export function* readRowBlocks(location: TensorLocation, scales?: Float32Array): Generator<Float32Array> {
  const rows = rowCount(location);
  const block = Math.max(1, Math.floor(blockValues / Math.max(1, columnCount(location))));
  for (let first = 0; first < rows; first += block) {
    yield readRows(location, first, Math.min(block, rows - first), scales);
  }
}

/** The tensor's bytes as they lie in the file. */
export function readBytes(location: TensorLocation): Uint8Array {
  const bytes = new Uint8Array(location.length);
  withFile(location, (descriptor, path) => readFully(descriptor, bytes, location.offset, path));
  return bytes;
}

/**
 * The tensor's bytes from `start`, `length` of them, a few MiB at a time and whole elements always. Each chunk begins
 * at a multiple of 8 in its memory, so it may be viewed as wider numbers; it is overwritten by the next one.
 */
export function* readChunks(location: TensorLocation, start = 0, length = location.length): Generator<Uint8Array> {
  const path = join(location.directory, location.file);
  const descriptor = openFile(path);
  try {
    const buffer = new Uint8Array(Math.min(chunkBytes, length));
    for (let done = 0; done < length; done += buffer.length) {
      const chunk = buffer.subarray(0, Math.min(buffer.length, length - done));
      readFully(descriptor, chunk, location.offset + start + done, path);
      yield chunk;
    }
  } finally {
    closeSync(descriptor);
  }
}

/** Values of elements in their file form, written to `into` from index `at`; I8 without its scale, U8 as the pairs it holds. `bytes` begin at a multiple of the element's size. */
export function decodeInto(dtype: Dtype, bytes: Uint8Array, into: Float32Array, at: number): void {
  const { buffer, byteOffset, length } = bytes;
  if (dtype === "F32") {
    into.set(new Float32Array(buffer, byteOffset, length / 4), at);
  } else if (dtype === "I8") {
    into.set(new Int8Array(buffer, byteOffset, length), at);
  } else if (dtype === "U8") {
    into.set(bytes, at);
  } else if (dtype === "BF16") {
    const source = new Uint16Array(buffer, byteOffset, length / 2);
    const bits = new Uint32Array(into.buffer, into.byteOffset + 4 * at, source.length);
    for (let i = 0; i < source.length; i++) bits[i] = source[i] << 16;
  } else {
    const source = new Uint16Array(buffer, byteOffset, length / 2);
    const values = halfValues();
    for (let i = 0; i < source.length; i++) into[at + i] = values[source[i]];
  }
}

/** R. */
export function rowCount(location: TensorLocation): number {
  return location.shape[0] ?? 1;
}

/** C: elements of one row. */
export function columnCount(location: TensorLocation): number {
  return location.shape.slice(1).reduce((product, size) => product * size, 1);
}

/** The memory of `values` as bytes. */
export function byteView(values: ArrayBufferView): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

function withFile(location: TensorLocation, use: (descriptor: number, path: string) => void): void {
  const path = join(location.directory, location.file);
  const descriptor = openFile(path);
  try {
    use(descriptor, path);
  } finally {
    closeSync(descriptor);
  }
}

function scaleRows(values: Float32Array, columns: number, scales: Float32Array): void {
  for (let row = 0, i = 0; row < scales.length; row++) {
    const scale = scales[row];
    for (const end = i + columns; i < end; i++) values[i] *= scale;
  }
}
