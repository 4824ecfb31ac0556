/**
 * int8 weights: every matrix of a linear layer and every hash table becomes int8 rows with an F32 scale each
 * (`X.weight` I8 [R, C], `X.weight_scale` F32 [R], value = integer x scale); byte embeddings and heads become F16,
 * norms F32.
 */
import { UserError } from "../errors";
import type { Checkpoint, TensorLocation } from "./checkpoint";
import { type OutputOptions, writeCheckpoint } from "./convert";
import { encodeValues, type FloatDtype } from "./encode-values";
import { hashTableName } from "./expected-tensors";
import { byteView, readRowBlocks, rowCount, scaleName } from "./tensor-data";
import type { TensorSource } from "./write-safetensors";

/** Largest magnitude of an int8 weight: symmetric, -128 is not used. */
const levels = 127;

/** Parts of the row's largest magnitude that are tried as the end of the range. */
const clippings = [1, 0.96, 0.92, 0.88, 0.84, 0.8];

/**
 * Writes the checkpoint to `output` with int8 weights (config.json and model.safetensors). Open it with `meta`
 * semantics, as the windows in force are written out. Throws `UserError`; nothing is left behind by a failure.
 */
export async function quantizeCheckpoint(
  checkpoint: Checkpoint,
  output: string,
  options: OutputOptions = {},
): Promise<void> {
  if (checkpoint.config.quantization !== null) {
    throw new UserError(`${checkpoint.directory} is quantised already; quantise the checkpoint it was made from.`);
  }
  const sources: TensorSource[] = [];
  for (const [name, location] of checkpoint.tensors) {
    if (name === hashTableName) continue;
    if (location.shape.length === 1) sources.push(floatSource(location, "F32"));
    else if (/(embed_tokens|lm_head)\.weight$/.test(name)) sources.push(floatSource(location, "F16"));
    else sources.push(...int8Sources(name, [location]));
  }
  if (checkpoint.hashTables.length > 0) sources.push(...int8Sources(hashTableName, checkpoint.hashTables));
  await writeCheckpoint(checkpoint, { ...checkpoint.config, quantization: "blt-int8" }, sources, output, options);
}

/**
 * Scale of a row that gives the least squared error of the ranges tried. With q = the rounded row, the best scale for
 * these integers is w.q / q.q and leaves the error w.w - (w.q)^2 / q.q. A row of zeros has scale 1, one with a value
 * that is not finite NaN.
 */
export function rowScale(row: Float32Array): number {
  let largest = 0;
  for (let i = 0; i < row.length; i++) largest = Math.max(largest, Math.abs(row[i]));
  if (!Number.isFinite(largest)) return Number.NaN;
  let best = 0;
  let scale = 1;
  for (const clipping of clippings) {
    const inverse = levels / (largest * clipping);
    let product = 0;
    let square = 0;
    for (let i = 0; i < row.length; i++) {
      const q = quantized(row[i] * inverse);
      product += row[i] * q;
      square += q * q;
    }
    if ((product * product) / square > best) {
      best = (product * product) / square;
      scale = product / square;
    }
  }
  return Math.fround(scale) === 0 ? 1 : scale;
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
            for (const end = i + columns; i < end; i++) integers[i] = quantized(values[i] * inverse);
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
function quantized(value: number): number {
  const rounded = value + 6755399441055744 - 6755399441055744;
  return Math.max(-levels, Math.min(levels, rounded));
}
