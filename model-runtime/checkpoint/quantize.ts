/**
 * Quantised weights. Every matrix of a linear layer and every hash table becomes int8 rows with an F32 scale each
 * (`X.weight` I8 [R, C], `X.weight_scale` F32 [R], value = integer x scale); with 4 bits those of the latent transformer
 * become symmetric 4-bit blocks (U8 [R, C / 32, 16], scales F16 [R, C / 32], value = scale x (number - 8)). Byte embeddings
 * and heads become F16, norms F32.
 */
import { UserError } from "../errors";
import type { Checkpoint, TensorLocation } from "./checkpoint";
import { type OutputOptions, writeCheckpoint } from "./convert";
import { encodeValues, type FloatDtype } from "./encode-values";
import { hashTableName } from "./expected-tensors";
import { halfValues, toHalf } from "./half";
import { BLOCK_SIZE, byteView, readRowBlocks, rowCount, scaleName } from "./tensor-data";
import type { TensorSource } from "./write-safetensors";

/** Largest magnitude of an int8 weight: symmetric, -128 is not used. */
const levels = 127;

/** Parts of the row's largest magnitude that are tried as the end of the range. */
const clippings = [1, 0.96, 0.92, 0.88, 0.84, 0.8];

/** The same for a block of 4-bit numbers. */
const blockClippings = [1.1, 1, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7];

export interface QuantizeOptions extends OutputOptions {
  /** Of the latent transformer's weights; 8 (default) or 4. */
  bits?: 4 | 8;
}

/**
 * Writes the checkpoint to `output` with quantised weights (config.json and model.safetensors). Open it with `meta`
 * semantics, as the windows in force are written out. Throws `UserError`; nothing is left behind by a failure.
 */
export async function quantizeCheckpoint(
  checkpoint: Checkpoint,
  output: string,
  { bits = 8, ...options }: QuantizeOptions = {},
): Promise<void> {
  if (checkpoint.config.quantization !== null) {
    throw new UserError(`${checkpoint.directory} is quantised already; quantise the checkpoint it was made from.`);
  }
  const sources: TensorSource[] = [];
  for (const [name, location] of checkpoint.tensors) {
    if (name === hashTableName) continue;
    if (location.shape.length === 1) sources.push(floatSource(location, "F32"));
    else if (/(embed_tokens|lm_head)\.weight$/.test(name)) sources.push(floatSource(location, "F16"));
    else if (bits === 4 && fitsBlocks(location)) sources.push(...blockSources(location));
    else sources.push(...int8Sources(name, [location]));
  }
  if (checkpoint.hashTables.length > 0) sources.push(...int8Sources(hashTableName, checkpoint.hashTables));
  const quantization = bits === 4 ? "blt-blocks-symmetric" : "blt-int8";
  await writeCheckpoint(checkpoint, { ...checkpoint.config, quantization }, sources, output, options);
}

/** The latent transformer's, and of whole blocks. */
function fitsBlocks({ name, shape }: TensorLocation): boolean {
  return name.startsWith("model.global_transformer.") && shape[1] % BLOCK_SIZE === 0;
}

/**
 * Scale of a row that gives the least squared error of the ranges tried. With q = the rounded row, the best scale for
 * these integers is w.q / q.q and leaves the error w.w - (w.q)^2 / q.q. A row of zeros has scale 1, one with a value
 * that is not finite NaN.
 */
export function rowScale(row: Float32Array): number {
  const largest = Math.abs(largestOf(row));
  const candidates = clippings.map((clipping) => (largest * clipping) / levels);
  const scale = bestScale(row, candidates, -levels, levels);
  return Math.fround(scale) === 0 ? 1 : scale;
}

/**
 * Scale of a block of 4-bit numbers from -8 to 7, as F16 holds it, that gives the least squared error of those tried; below
 * zero where the value of the largest magnitude is above it. A block of zeros has scale 0, one with a value that is not
 * finite NaN.
 */
export function blockScale(block: Float32Array): number {
  const end = largestOf(block) / -8;
  const scale = bestScale(block, [...blockClippings.map((part) => end * part), end / (-7 / 8)], -8, 7);
  return Number.isFinite(scale) ? halfValues()[toHalf(scale)] : scale;
}

/** The best fit to the integers that each of some scales gives; 0 for zeros only, NaN where a value is not finite. */
function bestScale(values: Float32Array, candidates: readonly number[], least: number, most: number): number {
  let best = 0;
  let scale = 0;
  for (const candidate of candidates) {
    if (Number.isNaN(candidate)) return Number.NaN;
    const inverse = 1 / candidate;
    let product = 0;
    let square = 0;
    for (let i = 0; i < values.length; i++) {
      const q = quantized(values[i] * inverse, least, most);
      product += values[i] * q;
      square += q * q;
    }
    if ((product * product) / square > best) {
      best = (product * product) / square;
      scale = product / square;
    }
  }
  return scale;
}

/** The value of the largest magnitude; NaN where one is not finite. */
function largestOf(values: Float32Array): number {
  let largest = 0;
  for (let i = 0; i < values.length; i++) {
    if (!Number.isFinite(values[i])) return Number.NaN;
    if (Math.abs(values[i]) > Math.abs(largest)) largest = values[i];
  }
  return largest;
}

/** The integers of a matrix, or of tables that follow each other, and their scales; a row's scale is searched once. */
function int8Sources(name: string, parts: TensorLocation[]): TensorSource[] {
  const rows = parts.reduce((sum, part) => sum + rowCount(part), 0);
  const columns = parts[0].shape[1];
  const scales = new Float32Array(rows);
  let scaled = 0;

  function* scaledBlocks(): Generator<{ values: Float32Array; row: number }> {
    let row = 0;
    for (const part of parts) {
      for (const values of readRowBlocks(part)) {
        const count = values.length / columns;
        for (; scaled < row + count; scaled++) {
          scales[scaled] = rowScale(values.subarray((scaled - row) * columns, (scaled - row + 1) * columns));
          if (Number.isNaN(scales[scaled])) throw notFinite(name, scaled);
        }
        yield { values, row };
        row += count;
      }
    }
  }

  return [
    {
      name,
      dtype: "I8",
      shape: [rows, columns],
      *chunks() {
        for (const { values, row } of scaledBlocks()) {
          const integers = new Int8Array(values.length);
          for (let i = 0, r = row; i < values.length; r++) {
            const inverse = 1 / scales[r];
            for (const end = i + columns; i < end; i++) integers[i] = quantized(values[i] * inverse, -levels, levels);
          }
          yield byteView(integers);
        }
      },
    },
    {
      name: scaleName(name),
      dtype: "F32",
      shape: [rows],
      *chunks() {
        // An empty chunk lets the writer look at its signal where the scales come before the integers in the file.
        if (scaled < rows) for (const _ of scaledBlocks()) yield new Uint8Array();
        yield byteView(scales);
      },
    },
  ];
}

/** A matrix in 4-bit blocks: pairs of numbers, and scales. A block's scale is searched once. */
function blockSources(location: TensorLocation): TensorSource[] {
  const { name } = location;
  const [rows, columns] = location.shape;
  const blocks = columns / BLOCK_SIZE;
  const scales = new Float32Array(rows * blocks);
  let scaled = 0;

  function* scaledBlocks(): Generator<{ values: Float32Array; block: number }> {
    let block = 0;
    for (const values of readRowBlocks(location)) {
      const count = values.length / BLOCK_SIZE;
      for (; scaled < block + count; scaled++) {
        const at = (scaled - block) * BLOCK_SIZE;
        scales[scaled] = blockScale(values.subarray(at, at + BLOCK_SIZE));
        if (Number.isNaN(scales[scaled])) throw notFinite(name, Math.floor(scaled / blocks));
      }
      yield { values, block };
      block += count;
    }
  }

  return [
    {
      name,
      dtype: "U8",
      shape: [rows, blocks, BLOCK_SIZE / 2],
      *chunks() {
        for (const { values, block } of scaledBlocks()) {
          const pairs = new Uint8Array(values.length / 2);
          for (let i = 0; i < values.length; i += 2) {
            const scale = scales[block + Math.floor(i / BLOCK_SIZE)];
            pairs[i / 2] = blockNumber(values[i], scale) | (blockNumber(values[i + 1], scale) << 4);
          }
          yield pairs;
        }
      },
    },
    {
      name: scaleName(name),
      dtype: "F16",
      shape: [rows, blocks],
      *chunks() {
        if (scaled < scales.length) for (const _ of scaledBlocks()) yield new Uint8Array();
        yield encodeValues(scales, "F16", scaleName(name));
      },
    },
  ];
}

/** 0 to 15; a scale that is too small for F16 makes all values 0, which is 8. */
function blockNumber(value: number, scale: number): number {
  return scale === 0 ? 8 : quantized(value / scale, -8, 7) + 8;
}

function notFinite(name: string, row: number): UserError {
  return new UserError(
    `Row ${row} of tensor ${name} is not finite; the checkpoint is damaged or its training diverged.`,
  );
}

function floatSource(location: TensorLocation, dtype: FloatDtype): TensorSource {
  return {
    name: location.name,
    dtype,
    shape: location.shape,
    *chunks() {
      for (const values of readRowBlocks(location)) yield encodeValues(values, dtype, location.name);
    },
  };
}

/** Nearest integer within the range; adding and taking away 1.5 x 2^52 leaves a double no room for a fraction. */
function quantized(value: number, least: number, most: number): number {
  const rounded = value + 6755399441055744 - 6755399441055744;
  return Math.max(least, Math.min(most, rounded));
}
