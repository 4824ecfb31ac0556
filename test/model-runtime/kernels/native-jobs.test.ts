import assert from "node:assert/strict";
import fc from "fast-check";
import { halfValues, toHalf } from "../../../model-runtime/checkpoint/half";
import { KEY_TILE, slotsFor, VALUE_STRIP } from "../../../model-runtime/kernels/attention";
import { BLOCK_INPUTS } from "../../../model-runtime/kernels/blocks";
import { nativeKernels } from "../../../model-runtime/kernels/native";
import {
  floatBits,
  inGroups,
  MOST_QUERIES,
  NATIVE_ACTIVATION_BYTES,
  type NativeJobArgument,
  type NativeJobName,
  nativeBlocksBytes,
  nativeJobArguments,
  nativeJobNames,
  OUTPUTS_OF_GROUP,
  packNativeBlocks,
  packNativeFloats,
  packNativeHalves,
  sumsOfIntegers,
} from "../../../model-runtime/kernels/native-jobs";
import { RowMemory, type RowSpan } from "../../../model-runtime/kernels/row-kernels";
import { roundToBytes } from "../../../model-runtime/model/byte-keys";
import { HIDDEN_SCORE } from "../../../model-runtime/model/kv-cache";
import { placeNativeIntegers } from "../../../model-runtime/model/native-products";

const { fround } = Math;
const LARGEST_FLOAT = (2 - 2 ** -23) * 2 ** 127;

/** What is made of rows [R, width], in a memory: a result for each. */
interface RowWork {
  width: number;
  apply(memory: RowMemory, x: Float32Array): Float32Array[];
}

const newMemory = () => RowMemory.create(1, true)!;

/** Runs all parts of a job. */
function run<J extends NativeJobName>(
  memory: RowMemory,
  name: J,
  values: Record<NativeJobArgument<J>, number>,
  parts: number,
): void {
  const job = memory.nativeJob(name, values);
  memory.team.begin();
  job.run(parts);
  memory.team.end();
}

/** Bytes of a number that keys and values are kept as: float16 or float32. */
type NumberBytes = 1 | 4;

/** Address of so many numbers. */
function placeNumbers(memory: RowMemory, count: number, value: number, bytes: NumberBytes): number {
  const at = memory.allocate(bytes * count);
  for (let i = 0; i < count; i++) writeNumber(memory, at, i, value, bytes);
  return at;
}

function writeNumber(memory: RowMemory, at: number, place: number, value: number, bytes: NumberBytes): void {
  if (bytes === 4) memory.floats[at / 4 + place] = value;
  else new Int8Array(memory.floats.buffer, at)[place] = value;
}

/** A number without its scale. */
function readNumber(memory: RowMemory, at: number, place: number, bytes: NumberBytes): number {
  return bytes === 4 ? memory.floats[at / 4 + place] : new Int8Array(memory.floats.buffer, at)[place];
}

/** Rows [.., D] as they are kept. */
function kept(rows: Float32Array, headDim: number, bytes: NumberBytes): Float32Array {
  const found = rows.slice();
  if (bytes === 1) roundToBytes(found, headDim);
  return found;
}

/** Values between rows, which are to stay as they are. */
const BETWEEN = 4;

/** Rows with what is no number between them. */
function placeRows(memory: RowMemory, x: Float32Array, width: number): RowSpan {
  const span = outputRows(memory, x.length / width, width, Number.NaN);
  for (let row = 0; row < x.length / width; row++)
    memory.row(span, row, width).set(x.subarray(row * width, (row + 1) * width));
  return span;
}

function outputRows(memory: RowMemory, rows: number, width: number, filled = 7): RowSpan {
  const span = memory.allocateRows(rows, width + BETWEEN);
  for (let row = 0; row < rows; row++) memory.row(span, row, width + BETWEEN).fill(filled);
  return span;
}

/** The first values of each row; fails where there is something else behind a row than was. */
function readRows(memory: RowMemory, span: RowSpan, rows: number, width: number, wanted = width): Float32Array[] {
  return Array.from({ length: rows }, (_, row) => {
    const found = memory.row(span, row, width + BETWEEN).slice();
    assert.equal(new Set(found.subarray(width)).size, 1);
    assert.ok([7, Number.NaN].includes(found[width]), `${found[width]} is written behind a row`);
    return found.slice(0, wanted);
  });
}

/** 4-bit numbers [O, B, 16 bytes] and scales [O, B], the bits of F16. */
interface Blocks {
  numbers: Uint8Array;
  scales: Uint16Array;
  blocks: number;
}

/** Rounded rows: address, and bytes from one to the next. */
function roundBlocks(memory: RowMemory, x: Float32Array, inputs: number): RowSpan {
  const [rows, from] = [x.length / inputs, placeRows(memory, x, inputs)];
  const bytes = (inputs / BLOCK_INPUTS) * NATIVE_ACTIVATION_BYTES + 4;
  const at = memory.allocate(rows * bytes);
  memory.bytes(at, rows * bytes).fill(77);
  run(memory, "roundBlocks", { x: from.at, xBytes: from.bytes, out: at, outBytes: bytes, inputs }, rows);
  for (let row = 0; row < rows; row++)
    assert.deepEqual([...memory.bytes(at + (row + 1) * bytes - 4, 4)], [77, 77, 77, 77]);
  return { at, bytes };
}

/** @param groups of outputs of a part */
function multiplyBlocks(
  memory: RowMemory,
  x: Float32Array,
  { numbers, scales, blocks }: Blocks,
  groups = 1,
): Float32Array[] {
  const [inputs, outputs] = [blocks * BLOCK_INPUTS, scales.length / blocks];
  const rows = x.length / inputs;
  const rounded = roundBlocks(memory, x, inputs);
  const length = nativeBlocksBytes(outputs, inputs);
  const weights = memory.allocate(length);
  // As if two matrices were joined.
  const first = outputs >> 1;
  const parts = [
    [0, first],
    [first, outputs],
  ] as const;
  for (const [from, to] of parts)
    packNativeBlocks(
      memory.bytes(weights, length),
      from,
      numbers.subarray((from * inputs) / 2, (to * inputs) / 2),
      scales.subarray(from * blocks, to * blocks),
      blocks,
    );
  const out = outputRows(memory, rows, inGroups(outputs));
  const allGroups = inGroups(outputs) / OUTPUTS_OF_GROUP;
  const given = { x: rounded.at, xBytes: rounded.bytes, rows, weights, out: out.at, outBytes: out.bytes };
  run(memory, "multiplyBlocks", { ...given, blocks, groups, allGroups }, Math.ceil(allGroups / groups));
  return readRows(memory, out, rows, inGroups(outputs), outputs);
}

/** Rounded rows, and the address of their largest magnitudes. */
function roundRows(memory: RowMemory, x: Float32Array, inputs: number, step: number) {
  const [rows, from] = [x.length / inputs, placeRows(memory, x, inputs)];
  const bytes = inputs + 4;
  const at = memory.allocate(rows * bytes);
  memory.bytes(at, rows * bytes).fill(77);
  const largest = memory.place(new Float32Array(rows + 1).fill(7));
  const given = { x: from.at, xBytes: from.bytes, out: at, outBytes: bytes, largest, inputs, step: floatBits(step) };
  run(memory, "roundRows", given, rows);
  for (let row = 0; row < rows; row++)
    assert.deepEqual([...memory.bytes(at + row * bytes + inputs, 4)], [77, 77, 77, 77]);
  assert.equal(memory.floats[largest / 4 + rows], 7);
  return { at, bytes, largest };
}

/** Int8 weights [O, I] and scales [O]. */
interface Integers {
  rows: Int8Array;
  scales: Float32Array;
}

const STEP = fround(1 / 127);

function multiplyIntegers(
  memory: RowMemory,
  x: Float32Array,
  { rows: weights, scales }: Integers,
  groups = 1,
): Float32Array[] {
  const outputs = scales.length;
  const inputs = weights.length / outputs;
  const rows = x.length / inputs;
  const { at, bytes, largest } = roundRows(memory, x, inputs, STEP);
  const sums = sumsOfIntegers(weights, inputs);
  const filled = new Float32Array(inGroups(outputs));
  filled.set(scales);
  const out = outputRows(memory, rows, inGroups(outputs));
  const allGroups = inGroups(outputs) / OUTPUTS_OF_GROUP;
  const given = {
    x: at,
    xBytes: bytes,
    largest,
    rows,
    weights: placeNativeIntegers(memory, weights, inputs),
    sums: memory.place(sums),
  };
  run(
    memory,
    "multiplyIntegers",
    { ...given, scales: memory.place(filled), out: out.at, outBytes: out.bytes, inputs, groups, allGroups },
    Math.ceil(allGroups / groups),
  );
  return readRows(memory, out, rows, inGroups(outputs), outputs);
}

/** Rows that are read out at a time. */
const READ_OUT = 16;
/** A margin that leaves nothing to estimates. */
const ALL = 1e30;

/** Products of activations that are rounded in blocks: those of outputs near others that are within `margin` of a row's largest estimate, and estimates. */
function readOut(
  memory: RowMemory,
  x: Float32Array,
  { rows: weights, scales }: Integers,
  margin: number,
  groups = 1,
): { found: Float32Array[]; estimates: Float32Array[] } {
  const outputs = scales.length;
  const inputs = weights.length / outputs;
  const [filled, blocks] = [inGroups(outputs), inputs / BLOCK_INPUTS];
  const halfBytes = (filled * inputs) / 2;
  const [upper, lower] = [memory.allocate(halfBytes), memory.allocate(halfBytes)];
  packNativeHalves(memory.bytes(upper, halfBytes), memory.bytes(lower, halfBytes), weights, inputs);
  const ofOutputs = new Float32Array(filled);
  ofOutputs.set(scales);
  const allGroups = filled / OUTPUTS_OF_GROUP;
  const parts = Math.ceil(allGroups / groups);
  const shared = { upper, scales: memory.place(ofOutputs), blocks, groups, allGroups };
  const all: ReturnType<typeof readOut> = { found: [], estimates: [] };
  for (let from = 0; from < x.length; from += READ_OUT * inputs) {
    const some = x.subarray(from, from + READ_OUT * inputs);
    const rows = some.length / inputs;
    const rounded = roundBlocks(memory, some, inputs);
    const out = outputRows(memory, rows, filled);
    const limits = memory.allocateFloats(rows);
    const given = { ...shared, x: rounded.at, xBytes: rounded.bytes, rows, out: out.at, outBytes: out.bytes };
    run(memory, "estimate", given, parts);
    const limit = { x: out.at, xBytes: out.bytes, width: outputs, margin: floatBits(margin), limits };
    run(memory, "limit", limit, rows);
    all.estimates.push(...readRows(memory, out, rows, filled, outputs));
    run(memory, "refine", { ...given, lower, limits }, parts);
    all.found.push(...readRows(memory, out, rows, filled, outputs));
  }
  return all;
}

/** @param weights [O, inputs] @param before what the outputs of every row are before, where products are added to it */
function multiplyFloats(
  memory: RowMemory,
  x: Float32Array,
  weights: Float32Array,
  inputs: number,
  before: Float32Array | null = null,
): Float32Array[] {
  const [rows, outputs] = [x.length / inputs, weights.length / inputs];
  const from = placeRows(memory, x, inputs);
  const out = outputRows(memory, rows, inGroups(outputs));
  if (before !== null) for (let row = 0; row < rows; row++) memory.row(out, row, outputs).set(before);
  const given = { x: from.at, xBytes: from.bytes, rows, weights: memory.place(packNativeFloats(weights, inputs)) };
  const taken = { out: out.at, outBytes: out.bytes, inputs, isAdded: Number(before !== null) };
  run(memory, "multiplyFloats", { ...given, ...taken }, inGroups(outputs) / OUTPUTS_OF_GROUP);
  return readRows(memory, out, rows, inGroups(outputs), outputs);
}

/** Query heads to a key head G, key heads K, head width D, positions P in use of S slots. */
interface Sight {
  together: number;
  keyHeads: number;
  headDim: number;
  positions: number;
  slots: number;
  numberBytes: NumberBytes;
  /** [K, P, D]. */
  keys: Float32Array;
  values: Float32Array;
}

/** What scores are multiplied with, before the mask is added. */
const scaleOf = ({ headDim }: Sight) => fround(1 / Math.sqrt(headDim));

/**
 * Attended [K, G, D] of rows of queries [K, G, D] and masks [P], in tiles of so many rows: each up to the last positions that it sees; or by
 * three jobs, in stretches of positions.
 */
function attend(memory: RowMemory, x: Float32Array, sight: Sight, tile: number, stretch: number | null = null) {
  const { together, keyHeads, headDim, positions, slots, keys, values, numberBytes } = sight;
  const heads = keyHeads * together;
  const width = heads * headDim;
  const rows = x.length / (width + positions);
  const headNumbers = slots * headDim;
  // What lies in slots that are not in use does not count.
  const [tiles, strips] = [keys, values].map(() =>
    placeNumbers(memory, keyHeads * headNumbers, numberBytes === 4 ? Number.NaN : 77, numberBytes),
  );
  const [keyScales, valueScales] = [0, 1].map(() => memory.place(new Float32Array(keyHeads * slots).fill(Number.NaN)));
  for (let head = 0; head < keyHeads; head++) {
    const [from, to] = [head * positions * headDim, (head + 1) * positions * headDim];
    const [headKeys, headValues] = [keys, values].map((all) => memory.place(all.subarray(from, to)));
    const offset = numberBytes * head * headNumbers;
    const places = { tiles: tiles + offset, strips: strips + offset, slot: 0, slots, headDim, numberBytes };
    const scales = { keyScales: keyScales + 4 * head * slots, valueScales: valueScales + 4 * head * slots };
    run(memory, "putRows", { keys: headKeys, values: headValues, ...places, ...scales }, positions);
  }
  const [from, masks] = [outputRows(memory, rows, width), outputRows(memory, rows, slots)];
  const ends = new Int32Array(rows);
  for (let row = 0; row < rows; row++) {
    const start = row * (width + positions);
    memory.row(from, row, width).set(x.subarray(start, start + width));
    const mask = x.subarray(start + width, start + width + positions);
    memory.row(masks, row, positions).set(mask);
    const last = mask.findLastIndex((score) => score > HIDDEN_SCORE);
    ends[row] = last < 0 ? positions : slotsFor(last + 1);
  }
  const out = outputRows(memory, rows, width);
  const given = {
    queries: from.at,
    queryBytes: from.bytes,
    rows,
    keys: tiles,
    values: strips,
    headBytes: numberBytes * headNumbers,
    mask: masks.at,
    maskBytes: masks.bytes,
    out: out.at,
    outBytes: out.bytes,
    keyHeads,
    together,
    headDim,
    slots,
    tile,
    scale: floatBits(scaleOf(sight)),
    numberBytes,
    keyScales,
    valueScales,
  };
  const tilesOfRows = Math.ceil(rows / tile) * keyHeads;
  const scratchBytes = 4 * MOST_QUERIES * (slots + headDim);
  const scratch = memory.allocate(stretch === null ? memory.team.threads * scratchBytes : 4 * rows * heads * slots);
  const end = memory.allocate(64);
  memory.bytes(end, 64).fill(7);
  if (stretch === null)
    run(memory, "attend", { ...given, ends: memory.place(ends), scratch, scratchBytes }, tilesOfRows);
  else {
    // One more than there are.
    const stretches = Math.ceil(positions / stretch) + 1;
    const inSight = memory.place(Int32Array.of(positions, stretch));
    const few = { ...given, scores: scratch, factors: memory.allocateFloats(rows * heads), sight: inSight };
    run(memory, "score", { ...few, stretches }, tilesOfRows * stretches);
    run(memory, "soften", few, rows * heads);
    run(memory, "sum", few, (tilesOfRows * headDim) / VALUE_STRIP);
  }
  assert.ok(memory.bytes(end, 64).every((byte) => byte === 7));
  return readRows(memory, out, rows, width);
}

/** Rows of scores as the job leaves them, and what they are to be multiplied with. */
function soften(memory: RowMemory, x: Float32Array, positions: number): { weights: Float32Array[]; factors: number[] } {
  const rows = x.length / positions;
  const scores = outputRows(memory, rows, positions);
  for (let row = 0; row < rows; row++)
    memory.row(scores, row, positions).set(x.subarray(row * positions, (row + 1) * positions));
  const factors = memory.allocateFloats(rows);
  const slots = scores.bytes / 4;
  const sight = memory.place(Int32Array.of(positions, positions));
  const shape = { keyHeads: 1, together: 1, slots, sight, tile: 1 };
  memory.nativeJob("soften", { ...shape, scores: scores.at, rows, factors }).run(rows);
  return {
    weights: readRows(memory, scores, rows, positions),
    factors: [...memory.floats.subarray(factors / 4, factors / 4 + rows)],
  };
}

function softmax(memory: RowMemory, x: Float32Array, width: number): Float32Array[] {
  const rows = x.length / width;
  const span = outputRows(memory, rows, inGroups(width));
  for (let row = 0; row < rows; row++) memory.row(span, row, width).set(x.subarray(row * width, (row + 1) * width));
  run(memory, "softmax", { x: span.at, xBytes: span.bytes, width }, rows);
  return readRows(memory, span, rows, inGroups(width), width);
}

function norm(memory: RowMemory, x: Float32Array, weight: Float32Array, epsilon: number): Float32Array[] {
  const width = weight.length;
  const [rows, from] = [x.length / width, placeRows(memory, x, width)];
  const out = outputRows(memory, rows, width);
  const places = { x: from.at, xBytes: from.bytes, weight: memory.place(weight), out: out.at, outBytes: out.bytes };
  run(memory, "norm", { ...places, width, epsilon: floatBits(epsilon) }, rows);
  return readRows(memory, out, rows, width);
}

/** Of rows of gates [width] and values [width]. */
function swiGlu(memory: RowMemory, x: Float32Array, width: number): Float32Array[] {
  const [rows, span] = [x.length / (2 * width), placeRows(memory, x, 2 * width)];
  run(memory, "swiGlu", { x: span.at, xBytes: span.bytes, width }, rows);
  return readRows(memory, span, rows, 2 * width).map((found, row) => {
    assert.deepEqual(found.subarray(width), x.slice((2 * row + 1) * width, (2 * row + 2) * width), "values stay");
    return found.slice(0, width);
  });
}

/** Of rows of what is added to [width] and what is added [width]. */
function add(memory: RowMemory, x: Float32Array, width: number): Float32Array[] {
  const rows = x.length / (2 * width);
  const halves = [0, 1].map((half) => {
    const values = new Float32Array(rows * width);
    for (let row = 0; row < rows; row++)
      values.set(x.subarray((2 * row + half) * width, (2 * row + half + 1) * width), row * width);
    return placeRows(memory, values, width);
  });
  const [to, from] = halves;
  run(memory, "add", { x: to.at, xBytes: to.bytes, y: from.at, yBytes: from.bytes, width }, rows);
  return readRows(memory, to, rows, width);
}

/** Query heads, key heads and head width of rows of queries, keys and values [(H + 2 K) D] and of what turns them [2, D]. */
interface Heads {
  heads: number;
  keyHeads: number;
  headDim: number;
  numberBytes: NumberBytes;
}

const widthOf = ({ heads, keyHeads, headDim }: Heads) => (heads + 2 * keyHeads) * headDim;

/** Slots that rows are put into one behind the other, and around the end. */
const [SLOTS, FIRST_SLOT] = [48, 30];

/**
 * Of each row: what is in its place, keys and values [2, K, D] as they are read in its slot, and as they are given back. Fails where something
 * else is written.
 */
function place(memory: RowMemory, x: Float32Array, of: Heads): Float32Array[] {
  const { keyHeads, headDim, numberBytes } = of;
  const width = widthOf(of);
  const all = width + 2 * headDim;
  const rows = x.length / all;
  const split = (from: number, to: number) => {
    const values = new Float32Array(rows * (to - from));
    for (let row = 0; row < rows; row++) values.set(x.subarray(row * all + from, row * all + to), row * (to - from));
    return placeRows(memory, values, to - from);
  };
  const [span, turns] = [split(0, width), split(width, all)];
  const slotsOfRows = Int32Array.from({ length: rows }, (_, row) => (FIRST_SLOT + row) % SLOTS);
  const headNumbers = SLOTS * headDim;
  const [keys, values] = [0, 1].map(() => placeNumbers(memory, keyHeads * headNumbers, 7, numberBytes));
  const made = memory.place(new Float32Array(2 * keyHeads * rows * headDim + 1).fill(7));
  const given = { x: span.at, xBytes: span.bytes, rows, turns: turns.at, turnBytes: turns.bytes };
  const shape = { ...of, slotsOfRows: memory.place(slotsOfRows), headBytes: numberBytes * headNumbers, slots: SLOTS };
  const [keyScales, valueScales] = [0, 1].map(() => memory.place(new Float32Array(keyHeads * SLOTS).fill(7)));
  run(memory, "place", { ...given, ...shape, keys, values, made, keyScales, valueScales }, rows);
  const floats = (at: number, count: number) => memory.floats.subarray(at / 4, at / 4 + count);
  const results = readRows(memory, span, rows, width).map((found, row) => {
    const slot = slotsOfRows[row];
    const [tile, lane] = [Math.floor(slot / KEY_TILE), slot % KEY_TILE];
    const result = [...found];
    for (const all of [keys, values])
      for (let head = 0; head < keyHeads; head++) {
        const scaleAt = (all === keys ? keyScales : valueScales) / 4 + head * SLOTS + slot;
        const scale = numberBytes === 4 ? 1 : memory.floats[scaleAt];
        memory.floats[scaleAt] = 7;
        for (let d = 0; d < headDim; d++) {
          const inTiles = (tile * headDim + d) * KEY_TILE + lane;
          const inStrips = (Math.floor(d / VALUE_STRIP) * SLOTS + slot) * VALUE_STRIP + (d % VALUE_STRIP);
          const at = head * headNumbers + (all === keys ? inTiles : inStrips);
          result.push(fround(readNumber(memory, all, at, numberBytes) * scale));
          writeNumber(memory, all, at, 7, numberBytes);
        }
      }
    for (let head = 0; head < 2 * keyHeads; head++)
      result.push(...floats(made + 4 * (head * rows + row) * headDim, headDim));
    return Float32Array.from(result);
  });
  assert.ok(
    [keys, values].every((all) =>
      Array.from({ length: keyHeads * headNumbers }, (_, i) => readNumber(memory, all, i, numberBytes)).every(
        (value) => value === 7,
      ),
    ),
    "other slots stay",
  );
  for (const scales of [keyScales, valueScales])
    assert.ok(floats(scales, keyHeads * SLOTS).every((scale) => scale === 7));
  assert.equal(memory.floats[made / 4 + 2 * keyHeads * rows * headDim], 7);
  return results;
}

/** The nearest whole number, halves to the even one. */
function nearest(value: number): number {
  const down = Math.floor(value);
  const isUp = value - down > 0.5 || (value - down === 0.5 && down % 2 !== 0);
  // Without the sign of a zero.
  return (isUp ? down + 1 : down) + 0;
}

/** A block of activations. */
interface Block {
  numbers: number[];
  scale: number;
  /** What the zero point of weights takes off. */
  offset: number;
}

function plainBlock(x: Float32Array): Block {
  const largest = x.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const inverse = Math.min(fround(127 / largest), LARGEST_FLOAT);
  const numbers = [...x].map((value) => nearest(fround(value * inverse)));
  return { numbers, scale: fround(largest / 127), offset: numbers.reduce((sum, value) => sum - 8 * value, 0) };
}

/** The blocks that the job makes of a row. */
function blocksOf(x: Float32Array): Block[] {
  const memory = newMemory();
  const { at } = roundBlocks(memory, x, x.length);
  return Array.from({ length: x.length / BLOCK_INPUTS }, (_, block) => {
    const { buffer } = memory.bytes(at + block * NATIVE_ACTIVATION_BYTES, NATIVE_ACTIVATION_BYTES).slice();
    const [scale] = new Float32Array(buffer, BLOCK_INPUTS, 1);
    const [offset] = new Int32Array(buffer, BLOCK_INPUTS + 4, 1);
    return { numbers: [...new Int8Array(buffer, 0, BLOCK_INPUTS)], scale, offset };
  });
}

/** Weight [output, input] without its scale. */
function weightOf({ numbers, blocks }: Blocks, output: number, input: number): number {
  const byte = numbers[(output * blocks * BLOCK_INPUTS + input) >> 1];
  return (input % 2 === 0 ? byte & 15 : byte >> 4) - 8;
}

/** Attended in float64, as `attend`. */
function plainAttention(x: Float32Array, sight: Sight): number[][] {
  const { together, keyHeads, headDim, positions, keys, values } = sight;
  const width = keyHeads * together * headDim;
  return Array.from({ length: x.length / (width + positions) }, (_, row) => {
    const queries = x.subarray(row * (width + positions), (row + 1) * (width + positions));
    const mask = queries.subarray(width);
    return Array.from({ length: keyHeads * together }, (_, head) => {
      const first = Math.floor(head / together) * positions;
      const scores = Array.from(mask, (score, position) => {
        let sum = 0;
        for (let d = 0; d < headDim; d++) sum += queries[head * headDim + d] * keys[(first + position) * headDim + d];
        return sum * scaleOf(sight) + score;
      });
      const largest = Math.max(...scores);
      const weights = scores.map((score) => Math.exp(score - largest));
      const sum = weights.reduce((a, b) => a + b);
      return Array.from(
        { length: headDim },
        (_, d) => weights.reduce((a, weight, i) => a + weight * values[(first + i) * headDim + d], 0) / sum,
      );
    }).flat();
  });
}

/** Numbers from 0 to 1. */
function numbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Numbers from -size to size. */
function randomFloats(random: () => number, length: number, size = 1): Float32Array {
  return Float32Array.from({ length }, () => size * (2 * random() - 1));
}

function randomBlocks(random: () => number, outputs: number, blocks: number): Blocks {
  const numbers = Uint8Array.from({ length: outputs * blocks * 16 }, () => 256 * random());
  const scales = Uint16Array.from({ length: outputs * blocks }, () =>
    toHalf((2 * random() - 1) * 10 ** (-5 * random())),
  );
  return { numbers, scales, blocks };
}

function randomIntegers(random: () => number, outputs: number, inputs: number): Integers {
  const rows = Int8Array.from({ length: outputs * inputs }, () => Math.floor(255 * random()) - 127);
  return { rows, scales: randomFloats(random, outputs) };
}

function randomSight(random: () => number, shape: Omit<Sight, "keys" | "values">): Sight {
  const length = shape.keyHeads * shape.positions * shape.headDim;
  // As they are kept.
  const [keys, values] = [0, 1].map(() => kept(randomFloats(random, length), shape.headDim, shape.numberBytes));
  return { ...shape, keys, values };
}

/** Rows of queries and masks that hide some positions. */
function randomQueries(random: () => number, rows: number, sight: Sight, spread: number): Float32Array {
  const { together, keyHeads, headDim, positions } = sight;
  const width = keyHeads * together * headDim;
  const x = randomFloats(random, rows * (width + positions), spread);
  for (let row = 0; row < rows; row++) {
    const mask = x.subarray(row * (width + positions) + width, (row + 1) * (width + positions)).fill(0);
    // Some see nothing behind a position.
    const seen = Math.floor(positions * random());
    const end = random() < 0.5 ? positions : seen + 1;
    for (let position = 0; position < positions; position++)
      if (position !== seen && (position >= end || random() < 0.4)) mask[position] = HIDDEN_SCORE;
  }
  return x;
}

const size = (max: number) => fc.integer({ min: 1, max });
const vectors = (max: number) => size(max).map((count) => 16 * count);

const products = fc.record({ rows: size(40), outputs: size(80), groups: size(3), seed: fc.integer() });
const numberBytes = fc.constantFrom<NumberBytes[]>(1, 4);
const sights = fc
  .record({
    together: fc.constantFrom(1, 2, 3, 5, 13),
    keyHeads: size(3),
    headDim: vectors(4),
    tiles: size(9),
    spare: fc.nat({ max: 2 }),
    numberBytes,
  })
  .map(({ tiles, spare, ...shape }) => ({
    ...shape,
    positions: tiles * KEY_TILE,
    slots: (tiles + spare) * KEY_TILE,
  }));
/** Rows that a part of the attention has in the networks. */
const tileOf = (together: number) => Math.max(1, Math.floor(MOST_QUERIES / together));

/** What is done to rows, of any size. */
const works: Record<string, fc.Arbitrary<RowWork>> = {
  "roundBlocks and multiplyBlocks": fc
    .record({ blocks: size(5), outputs: size(80), groups: size(3), seed: fc.integer() })
    .map(({ blocks, outputs, groups, seed }) => {
      const weights = randomBlocks(numbers(seed), outputs, blocks);
      return { width: blocks * BLOCK_INPUTS, apply: (memory, x) => multiplyBlocks(memory, x, weights, groups) };
    }),
  "roundRows and multiplyIntegers": fc
    .record({ width: vectors(6), outputs: size(80), groups: size(3), seed: fc.integer() })
    .map(({ width, outputs, groups, seed }) => {
      const weights = randomIntegers(numbers(seed), outputs, width);
      return { width, apply: (memory, x) => multiplyIntegers(memory, x, weights, groups) };
    }),
  "roundBlocks, estimate, limit and refine": fc
    .record({
      blocks: size(5),
      outputs: size(80),
      groups: size(3),
      margin: fc.constantFrom(0, 20, ALL),
      seed: fc.integer(),
    })
    .map(({ blocks, outputs, groups, margin, seed }) => {
      const width = blocks * BLOCK_INPUTS;
      const weights = randomIntegers(numbers(seed), outputs, width);
      return { width, apply: (memory, x) => readOut(memory, x, weights, margin, groups).found };
    }),
  multiplyFloats: fc
    .record({ width: size(70), outputs: size(80), isAdded: fc.boolean(), seed: fc.integer() })
    .map(({ width, outputs, isAdded, seed }) => {
      const random = numbers(seed);
      const weights = randomFloats(random, outputs * width);
      const before = isAdded ? randomFloats(random, outputs) : null;
      return { width, apply: (memory, x) => multiplyFloats(memory, x, weights, width, before) };
    }),
  attend: fc.record({ shape: sights, tile: fc.option(size(14)), seed: fc.integer() }).map(({ shape, tile, seed }) => {
    const sight = randomSight(numbers(seed), shape);
    const { together, keyHeads, headDim, positions } = shape;
    const width = together * keyHeads * headDim + positions;
    return { width, apply: (memory, x) => attend(memory, x, sight, tile ?? tileOf(together)) };
  }),
  "score, soften and sum": fc
    .record({ shape: sights, tile: fc.option(size(14)), stretch: vectors(5), seed: fc.integer() })
    .map(({ shape, tile, stretch, seed }) => {
      const sight = randomSight(numbers(seed), shape);
      const { together, keyHeads, headDim, positions } = shape;
      const width = together * keyHeads * headDim + positions;
      return { width, apply: (memory, x) => attend(memory, x, sight, tile ?? tileOf(together), stretch) };
    }),
  place: fc
    .record({ heads: size(6), keyHeads: size(3), headDim: vectors(4), numberBytes })
    .map((of) => ({ width: widthOf(of) + 2 * of.headDim, apply: (memory, x) => place(memory, x, of) })),
  softmax: size(100).map((width) => ({ width, apply: (memory, x) => softmax(memory, x, width) })),
  norm: fc.record({ width: vectors(9), seed: fc.integer() }).map(({ width, seed }) => {
    const weight = randomFloats(numbers(seed), width);
    return { width, apply: (memory, x) => norm(memory, x, weight, 1e-5) };
  }),
  swiGlu: vectors(9).map((width) => ({ width: 2 * width, apply: (memory, x) => swiGlu(memory, x, width) })),
  add: vectors(9).map((width) => ({ width: 2 * width, apply: (memory, x) => add(memory, x, width) })),
};

/** Those for other processors that this one can run as well. */
function variantNames(): string[] {
  const kernels = nativeKernels();
  if (kernels === null) return ["none for this processor"];
  const names: string[] = [];
  for (let name = kernels.use(0); name !== undefined; name = kernels.use(names.length)) names.push(name);
  kernels.use(0);
  return names;
}

describe("sumsOfIntegers", () => {
  it("adds up rows of any length, the largest numbers too, and has zeros for outputs that there are not", () => {
    for (const inputs of [4, 1020, 1024, 1028, 5000]) {
      const random = numbers(inputs);
      const rows = Int8Array.from({ length: 3 * inputs }, (_, i) =>
        i < inputs ? 127 : i < 2 * inputs ? -128 : Math.floor(256 * random()) - 128,
      );
      const sum = rows.subarray(2 * inputs).reduce((a, b) => a + b, 0);
      const expected = [127 * inputs, -128 * inputs, sum, ...new Array(OUTPUTS_OF_GROUP - 3).fill(0)];
      assert.deepEqual([...sumsOfIntegers(rows, inputs)], expected);
    }
  });
});

describe("native jobs", () => {
  it("have the places that their arguments are listed at", () => {
    assert.deepEqual(new Set(nativeJobNames), new Set(Object.keys(nativeJobArguments)));
  });
});

for (const [number, variant] of variantNames().entries())
  describe(`native jobs (${variant})`, () => {
    /** Of several threads, and one whose free addresses lie behind 2 GB. */
    let many: RowMemory;
    let far: RowMemory | null;

    before(function () {
      const kernels = nativeKernels();
      if (kernels === null) this.skip();
      kernels.use(number);
      many = RowMemory.create(3, true)!;
      far = newMemory();
      try {
        far.allocate(2 ** 31);
      } catch {
        far = null;
      }
    });

    after(async () => {
      await many?.team.release();
      nativeKernels()?.use(0);
    });

    for (const [title, work] of Object.entries(works)) {
      const rows = fc.record({ rows: size(40), seed: fc.integer() });
      const rowsOf = ({ width }: RowWork, { rows, seed }: { rows: number; seed: number }) =>
        randomFloats(numbers(seed), rows * width, 3);

      it(`${title} give a row the same bits, whatever rows it is run with`, () => {
        fc.assert(
          fc.property(work, rows, fc.array(size(20), { minLength: 1 }), (work, shape, counts) => {
            const x = rowsOf(work, shape);
            const together = work.apply(newMemory(), x);
            const memory = newMemory();
            for (let row = 0, i = 0; row < shape.rows; i++) {
              const end = Math.min(shape.rows, row + counts[i % counts.length]);
              const some = work.apply(memory, x.subarray(row * work.width, end * work.width));
              assert.deepEqual(some, together.slice(row, end));
              row = end;
            }
          }),
          { numRuns: 30 },
        );
      });

      it(`${title} give the same bits with several threads as with one`, () => {
        fc.assert(
          fc.property(work, rows, (work, shape) => {
            const x = rowsOf(work, shape);
            assert.deepEqual(work.apply(many, x), work.apply(newMemory(), x));
          }),
          { numRuns: 30 },
        );
      });

      it(`${title} find what lies behind 2 GB`, function () {
        const memory = far;
        // Where the system has not so many addresses.
        if (memory === null) this.skip();
        fc.assert(
          fc.property(work, rows, (work, shape) => {
            const x = rowsOf(work, shape);
            assert.deepEqual(work.apply(memory, x), work.apply(newMemory(), x));
          }),
          { numRuns: 3 },
        );
      });
    }

    /** Fails unless a row of 7 with an activation that is no number gives none, one with an infinite one none that is finite, others what they do. */
    function spoilsItsRowAlone(inputs: number, multiply: (x: Float32Array) => Float32Array[]): void {
      const x = randomFloats(numbers(2), 7 * inputs);
      const whole = multiply(x);
      x[2 * inputs + 40] = Number.NaN;
      x[5 * inputs + 1] = Number.POSITIVE_INFINITY;
      multiply(x).forEach((found, row) => {
        if (row === 2) assert.ok(found.every(Number.isNaN));
        else if (row === 5) assert.ok(found.every((value) => !Number.isFinite(value)));
        else assert.deepEqual(found, whole[row]);
      });
    }

    describe("roundBlocks", () => {
      const block = (value: fc.Arbitrary<number>) =>
        fc.array(value, { minLength: BLOCK_INPUTS, maxLength: BLOCK_INPUTS });
      const number = fc.float({ noNaN: true, noDefaultInfinity: true });
      const row = fc
        .array(
          fc.oneof(
            block(number),
            block(fc.float({ noNaN: true, min: -8, max: 8 })),
            // Halves, where the largest magnitude is 127.
            block(fc.integer({ min: -253, max: 253 }).map((halves) => halves / 2)).map((values) => [
              ...values.slice(1),
              127,
            ]),
            // Next to halves, which a product may be rounded to.
            fc
              .record({
                largest: fc.float({ noNaN: true, min: 1, max: 8 }),
                halves: block(fc.integer({ min: -125, max: 125 })),
              })
              .map(({ largest, halves }) => [
                ...halves.slice(1).map((half) => fround((half + 0.5) / fround(127 / largest))),
                largest,
              ]),
            // Few numbers other than zero.
            block(fc.oneof({ weight: 15, arbitrary: fc.constantFrom(0, -0) }, number)),
          ),
          { minLength: 1, maxLength: 5 },
        )
        .map((blocks) => Float32Array.from(blocks.flat()));

      it("is what a plain computation gives, bit for bit", () => {
        fc.assert(
          fc.property(row, (x) => {
            const expected = Array.from({ length: x.length / BLOCK_INPUTS }, (_, i) =>
              plainBlock(x.subarray(i * BLOCK_INPUTS, (i + 1) * BLOCK_INPUTS)),
            );
            assert.deepEqual(blocksOf(x), expected);
          }),
          { numRuns: 300 },
        );
      });

      it("is the same for zeros, for the largest numbers, and for the smallest", () => {
        for (const list of [
          [],
          [-0],
          [LARGEST_FLOAT, -LARGEST_FLOAT, 1e38, 1],
          [2 ** -149, 1e-40, -(2 ** -126), 2 ** -119],
          [-(2 ** -119), 2 ** -120],
          [2 ** -121, -(2 ** -122), 2 ** -149],
          [2 ** -149],
          [0, 0, 0, 1e-30],
        ]) {
          const x = new Float32Array(BLOCK_INPUTS);
          x.set(list, 11);
          assert.deepEqual(blocksOf(x), [plainBlock(x)]);
        }
      });

      it("has a scale that is no number where one of a block's is none", () => {
        for (let at = 0; at < BLOCK_INPUTS; at++)
          for (const bits of [0x7fc00000, 0xffc00000, 0x7f800001]) {
            const x = Float32Array.from({ length: 2 * BLOCK_INPUTS }, (_, i) => i - 20);
            x[(at + 1) % BLOCK_INPUTS] = Number.NEGATIVE_INFINITY;
            new Uint32Array(x.buffer)[at] = bits;
            const [first, second] = blocksOf(x);
            assert.ok(Number.isNaN(first.scale));
            assert.deepEqual(second, plainBlock(x.subarray(BLOCK_INPUTS)));
          }
      });
    });

    describe("multiplyBlocks", () => {
      it("is exact where all sums are, in every output", () => {
        fc.assert(
          fc.property(products, size(5), ({ rows, outputs, groups, seed }, blocks) => {
            const random = numbers(seed);
            const inputs = blocks * BLOCK_INPUTS;
            // Whole numbers with a largest magnitude of 127 in each block are themselves.
            const x = Float32Array.from({ length: rows * inputs }, (_, i) =>
              i % BLOCK_INPUTS === 5 ? -127 : Math.floor(255 * random()) - 127,
            );
            const weights = randomBlocks(random, outputs, blocks);
            weights.scales = weights.scales.map(() => toHalf([1, -1, 2, 0.5, 0, -0.25][Math.floor(6 * random())]));
            multiplyBlocks(newMemory(), x, weights, groups).forEach((found, row) => {
              const expected = Float32Array.from({ length: outputs }, (_, output) => {
                let sum = 0;
                for (let i = 0; i < inputs; i++)
                  sum +=
                    halfValues()[weights.scales[output * blocks + Math.floor(i / BLOCK_INPUTS)]] *
                    weightOf(weights, output, i) *
                    x[row * inputs + i];
                return sum;
              });
              // Without the sign of a zero.
              assert.deepEqual(
                found.map((value) => value + 0),
                expected.map((value) => value + 0),
              );
            });
          }),
          { numRuns: 40 },
        );
      });

      it("is within rounding what the whole numbers and scales give", () => {
        fc.assert(
          fc.property(products, size(5), ({ rows, outputs, groups, seed }, blocks) => {
            const random = numbers(seed);
            const inputs = blocks * BLOCK_INPUTS;
            const x = Float32Array.from({ length: rows * inputs }, () => (random() - 0.5) * 10 ** (4 * random()));
            const weights = randomBlocks(random, outputs, blocks);
            multiplyBlocks(newMemory(), x, weights, groups).forEach((found, row) => {
              const rounded = Array.from({ length: blocks }, (_, block) =>
                plainBlock(x.subarray(row * inputs).subarray(block * BLOCK_INPUTS, (block + 1) * BLOCK_INPUTS)),
              );
              found.forEach((value, output) => {
                let [sum, size] = [0, 0];
                rounded.forEach(({ numbers, scale }, block) => {
                  const factor = halfValues()[weights.scales[output * blocks + block]] * scale;
                  numbers.forEach((number, i) => {
                    const product = number * weightOf(weights, output, block * BLOCK_INPUTS + i) * factor;
                    sum += product;
                    size += Math.abs(product);
                  });
                });
                assert.ok(Math.abs(value - sum) <= 1e-6 * size, `row ${row}, output ${output}: ${value}, ${sum}`);
              });
            });
          }),
          { numRuns: 20 },
        );
      });

      it("holds the largest sums", () => {
        const [blocks, outputs] = [64, 17];
        const inputs = blocks * BLOCK_INPUTS;
        for (const [byte, weight] of [
          [0x00, -8],
          [0xff, 7],
        ]) {
          const numbers = new Uint8Array((outputs * inputs) / 2).fill(byte);
          const weights = { numbers, scales: new Uint16Array(outputs * blocks).fill(toHalf(1)), blocks };
          for (const value of [127, -127]) {
            const [found] = multiplyBlocks(newMemory(), new Float32Array(inputs).fill(value), weights);
            assert.deepEqual([...found], new Array(outputs).fill(inputs * value * weight));
          }
        }
      });

      it("has the weights of each input where one activation is all there is", () => {
        const [blocks, outputs] = [2, 19];
        const inputs = blocks * BLOCK_INPUTS;
        const weights = randomBlocks(numbers(5), outputs, blocks);
        weights.scales.fill(toHalf(1));
        const x = new Float32Array(inputs * inputs);
        for (let i = 0; i < inputs; i++) x[i * inputs + i] = i % 2 === 0 ? 127 : -127;
        multiplyBlocks(newMemory(), x, weights).forEach((found, i) => {
          const expected = Array.from(found, (_, output) => weightOf(weights, output, i) * x[i * inputs + i] + 0);
          assert.deepEqual([...found], expected);
        });
      });

      it("is no number where an activation is none, in that row only", () => {
        const inputs = 3 * BLOCK_INPUTS;
        const weights = randomBlocks(numbers(1), 40, 3);
        spoilsItsRowAlone(inputs, (x) => multiplyBlocks(newMemory(), x, weights));
      });
    });

    /** How much larger numbers are stored: dot-product instructions of x86 take one factor without a sign. */
    const shift = variant.includes("vnni") ? 128 : 0;

    describe("roundRows", () => {
      /** The whole numbers of a row, and its largest magnitude. */
      function roundedRow(x: Float32Array, levels: number): { numbers: number[]; largest: number } {
        const memory = newMemory();
        const { at, largest } = roundRows(memory, x, x.length, fround(1 / levels));
        const numbers = [...memory.bytes(at, x.length)].map((byte) => new Int8Array([byte - shift])[0]);
        return { numbers, largest: memory.floats[largest / 4] };
      }

      function plainRow(x: Float32Array, levels: number): { numbers: number[]; largest: number } {
        const largest = x.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
        const numbers = [...x].map((value) => nearest(fround(fround(value / (largest || 1)) / fround(1 / levels))));
        return { numbers, largest };
      }

      const levels = fc.constantFrom(127, 63);

      it("is what a plain computation gives, bit for bit", () => {
        const number = fc.float({ noNaN: true, noDefaultInfinity: true });
        const row = (value: fc.Arbitrary<number>) =>
          vectors(6)
            .chain((length) => fc.array(value, { minLength: length, maxLength: length }))
            .map((values) => Float32Array.from(values));
        const rows = fc.oneof(
          row(number),
          row(fc.float({ noNaN: true, min: -8, max: 8 })),
          row(fc.oneof({ weight: 15, arbitrary: fc.constantFrom(0, -0) }, number)),
        );
        fc.assert(
          fc.property(rows, levels, (x, levels) => {
            assert.deepEqual(roundedRow(x, levels), plainRow(x, levels));
          }),
          { numRuns: 200 },
        );
      });

      it("is the same at halves, for zeros, for the largest numbers, and for the smallest", () => {
        for (const levels of [127, 63])
          for (const list of [
            [levels, ...Array.from({ length: 60 }, (_, i) => i - 29.5)],
            [-levels, ...Array.from({ length: 60 }, (_, i) => levels - i - 0.5)],
            [],
            [-0],
            [LARGEST_FLOAT, -LARGEST_FLOAT, 1e38, 1],
            [2 ** -149, 1e-40, -(2 ** -126)],
            [2 ** -149],
            [1, -(2 ** -149)],
          ]) {
            const x = new Float32Array(64);
            x.set(list);
            assert.deepEqual(roundedRow(x, levels), plainRow(x, levels));
          }
      });

      it("has a largest magnitude that is no number where one of a row is none", () => {
        for (let at = 0; at < 48; at++)
          for (const bits of [0x7fc00000, 0xffc00000, 0x7f800001]) {
            const x = new Float32Array(48).fill(2);
            x[(at + 1) % x.length] = Number.NEGATIVE_INFINITY;
            new Uint32Array(x.buffer)[at] = bits;
            assert.ok(Number.isNaN(roundedRow(x, 127).largest));
          }
      });
    });

    describe("multiplyIntegers", () => {
      /** As float32 is rounded, which sums of whole numbers are not before they are complete. */
      function plainProducts(x: Float32Array, { rows: weights, scales }: Integers): Float32Array[] {
        const inputs = weights.length / scales.length;
        return Array.from({ length: x.length / inputs }, (_, row) => {
          const own = x.subarray(row * inputs, (row + 1) * inputs);
          const largest = own.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
          const numbers = [...own].map((value) => nearest(fround(fround(value / (largest || 1)) / STEP)));
          return scales.map((scale, output) => {
            const sum = numbers.reduce((sum, number, i) => sum + number * weights[output * inputs + i], 0);
            return fround(fround(fround(sum) * scale) * largest) + 0;
          });
        });
      }

      it("is what a plain computation gives, bit for bit", () => {
        fc.assert(
          fc.property(products, vectors(6), ({ rows, outputs, groups, seed }, inputs) => {
            const random = numbers(seed);
            const x = randomFloats(random, rows * inputs).map((value) => value * 10 ** (8 * random() - 4));
            // A row of zeros among them.
            x.fill(0, (rows >> 1) * inputs, ((rows >> 1) + 1) * inputs);
            const weights = randomIntegers(random, outputs, inputs);
            const found = multiplyIntegers(newMemory(), x, weights, groups);
            assert.deepEqual(
              found.map((row) => row.map((value) => value + 0)),
              plainProducts(x, weights),
            );
          }),
          { numRuns: 40 },
        );
      });

      it("holds the largest sums", () => {
        const [inputs, outputs] = [4096, 16];
        const x = Float32Array.from(
          { length: 5 * inputs },
          (_, i) => [1, -1, i % 2 === 0 ? 1 : -1, i % 4 < 2 ? 1 : -1, 0][Math.floor(i / inputs)],
        );
        for (const sign of [(_: number) => 1, (_: number) => -1, (i: number) => (i % 2 === 0 ? 1 : -1)]) {
          const rows = Int8Array.from({ length: outputs * inputs }, (_, i) => 127 * sign(i));
          const weights = { rows, scales: new Float32Array(outputs).fill(0.5) };
          const found = multiplyIntegers(newMemory(), x, weights);
          assert.deepEqual(
            found.map((row) => row.map((value) => value + 0)),
            plainProducts(x, weights),
          );
        }
      });

      it("is no number where an activation is none, in that row only", () => {
        const inputs = 48;
        const weights = randomIntegers(numbers(1), 40, inputs);
        spoilsItsRowAlone(inputs, (x) => multiplyIntegers(newMemory(), x, weights));
      });
    });

    describe("estimate, limit and refine", () => {
      /** The sums of a row, of its blocks' magnitudes and of all products' ones, in float64, without the scales of weights. */
      function plainSums(
        x: Float32Array,
        weights: Int8Array | Int16Array,
      ): { sum: number; size: number; most: number }[] {
        const rounded = Array.from({ length: x.length / BLOCK_INPUTS }, (_, block) =>
          plainBlock(x.subarray(block * BLOCK_INPUTS, (block + 1) * BLOCK_INPUTS)),
        );
        return Array.from({ length: weights.length / x.length }, (_, output) => {
          let [sum, size, most] = [0, 0, 0];
          rounded.forEach(({ numbers, scale }, block) => {
            let inBlock = 0;
            numbers.forEach((number, i) => {
              const product = number * weights[output * x.length + block * BLOCK_INPUTS + i];
              inBlock += product;
              most += Math.abs(product * scale);
            });
            sum += inBlock * scale;
            size += Math.abs(inBlock * scale);
          });
          return { sum, size, most };
        });
      }

      it("estimates with 7.5 as each lower half, and takes both halves near estimates within the margin alone", () => {
        fc.assert(
          fc.property(
            products,
            size(5),
            fc.constantFrom(0, 3, 30),
            ({ rows, outputs, groups, seed }, blocks, margin) => {
              const random = numbers(seed);
              const inputs = blocks * BLOCK_INPUTS;
              const x = randomFloats(random, rows * inputs);
              const { rows: whole, scales } = randomIntegers(random, outputs, inputs);
              const weights = { rows: whole, scales: scales.map((scale) => scale / 100) };
              // Twice what stands for a weight.
              const doubled = Int16Array.from(whole, (weight) => 32 * (weight >> 4) + 15);
              const exact = readOut(newMemory(), x, weights, ALL, groups).found;
              const { found, estimates } = readOut(newMemory(), x, weights, margin, groups);
              estimates.forEach((row, index) => {
                plainSums(x.subarray(index * inputs, (index + 1) * inputs), doubled).forEach(
                  ({ sum, most }, output) => {
                    const scale = weights.scales[output] / 2;
                    const off = Math.abs(row[output] - sum * scale);
                    assert.ok(off <= 1e-6 * most * Math.abs(scale), `${row[output]}, ${sum * scale}`);
                  },
                );
                const limit = fround(Math.max(...row) - margin);
                row.forEach((estimate, output) => {
                  const first = output - (output % OUTPUTS_OF_GROUP);
                  const isNear = row.subarray(first, first + OUTPUTS_OF_GROUP).some((each) => each > limit);
                  assert.equal(found[index][output], isNear ? exact[index][output] : estimate);
                });
              });
            },
          ),
          { numRuns: 20 },
        );
      });

      it("is within rounding what the whole numbers and scales give, where nothing is left to estimates", () => {
        fc.assert(
          fc.property(products, size(5), ({ rows, outputs, groups, seed }, blocks) => {
            const random = numbers(seed);
            const inputs = blocks * BLOCK_INPUTS;
            const x = Float32Array.from({ length: rows * inputs }, () => (random() - 0.5) * 10 ** (4 * random()));
            // A row of zeros among them.
            x.fill(0, (rows >> 1) * inputs, ((rows >> 1) + 1) * inputs);
            const weights = randomIntegers(random, outputs, inputs);
            readOut(newMemory(), x, weights, ALL, groups).found.forEach((found, row) => {
              plainSums(x.subarray(row * inputs, (row + 1) * inputs), weights.rows).forEach(({ sum, size }, output) => {
                const scale = weights.scales[output];
                const off = Math.abs(found[output] - sum * scale);
                assert.ok(
                  off <= 1e-6 * size * Math.abs(scale),
                  `row ${row}, output ${output}: ${found[output]}, ${sum}`,
                );
              });
            });
          }),
          { numRuns: 20 },
        );
      });

      it("holds the largest sums", () => {
        const [inputs, outputs] = [1024, 17];
        const x = Float32Array.from(
          { length: 5 * inputs },
          (_, i) => [127, -127, i % 2 === 0 ? 127 : -127, i % 4 < 2 ? 127 : -127, 0][Math.floor(i / inputs)],
        );
        for (const sign of [(_: number) => 1, (_: number) => -1, (i: number) => (i % 2 === 0 ? 1 : -1)]) {
          const rows = Int8Array.from({ length: outputs * inputs }, (_, i) => 127 * sign(i));
          const weights = { rows, scales: new Float32Array(outputs).fill(0.5) };
          readOut(newMemory(), x, weights, ALL).found.forEach((found, row) => {
            const expected = plainSums(x.subarray(row * inputs, (row + 1) * inputs), rows);
            // Without the sign of a zero.
            assert.deepEqual(
              [...found].map((value) => value + 0),
              expected.map(({ sum }) => sum / 2 + 0),
            );
          });
        }
      });

      it("is no number where an activation is none, in that row only", () => {
        const inputs = 96;
        const weights = randomIntegers(numbers(1), 40, inputs);
        for (const margin of [1, ALL]) spoilsItsRowAlone(inputs, (x) => readOut(newMemory(), x, weights, margin).found);
      });
    });

    describe("multiplyFloats", () => {
      for (const isAdded of [false, true])
        it(`is within rounding the product${isAdded ? ", added to what is there" : ""}`, () => {
          fc.assert(
            fc.property(products, size(90), ({ rows, outputs, seed }, inputs) => {
              const random = numbers(seed);
              const x = randomFloats(random, rows * inputs).map((value) => value * 10 ** (4 * random()));
              const weights = randomFloats(random, outputs * inputs);
              const before = isAdded ? randomFloats(random, outputs, 50) : null;
              multiplyFloats(newMemory(), x, weights, inputs, before).forEach((found, row) => {
                found.forEach((value, output) => {
                  let sum = before?.[output] ?? 0;
                  let size = Math.abs(sum);
                  for (let i = 0; i < inputs; i++) {
                    const product = x[row * inputs + i] * weights[output * inputs + i];
                    sum += product;
                    size += Math.abs(product);
                  }
                  const most = (inputs + 2) * 2 ** -24 * size;
                  assert.ok(Math.abs(value - sum) <= most, `row ${row}, output ${output}: ${value}, ${sum}`);
                });
              });
            }),
            { numRuns: 30 },
          );
        });

      it("is no number where an activation is none, in that row only", () => {
        const [inputs, rows] = [20, 6];
        const x = randomFloats(numbers(2), rows * inputs);
        const weights = randomFloats(numbers(1), 40 * inputs);
        const whole = multiplyFloats(newMemory(), x, weights, inputs);
        x[2 * inputs + 4] = Number.NaN;
        multiplyFloats(newMemory(), x, weights, inputs).forEach((found, row) => {
          if (row === 2) assert.ok(found.every(Number.isNaN));
          else assert.deepEqual(found, whole[row]);
        });
      });
    });

    describe("attend", () => {
      const more = fc.record({
        rows: size(20),
        seed: fc.integer(),
        // Far scores leave all the weight with one position.
        spread: fc.constantFrom(0.1, 1, 30),
      });

      it("is softmax of products of each query with visible keys, times their values", () => {
        fc.assert(
          fc.property(sights, more, (shape, { rows, seed, spread }) => {
            const random = numbers(seed);
            const sight = randomSight(random, shape);
            const x = randomQueries(random, rows, sight, spread);
            const found = attend(newMemory(), x, sight, tileOf(shape.together));
            plainAttention(x, sight).forEach((expected, row) => {
              expected.forEach((value, i) => {
                // Scores in float32 err by their size.
                const off = Math.abs(found[row][i] - value);
                assert.ok(off <= 2e-5 * (1 + spread), `row ${row}, ${i}: ${found[row][i]}, ${value}`);
              });
            });
          }),
          { numRuns: 30 },
        );
      });

      it("gives the bits that scores, softmax and sums give one after the other, in tiles of any size", () => {
        fc.assert(
          fc.property(sights, more, size(30), vectors(10), (shape, { rows, seed, spread }, tile, stretch) => {
            const random = numbers(seed);
            const sight = randomSight(random, shape);
            const x = randomQueries(random, rows, sight, spread);
            assert.deepEqual(attend(newMemory(), x, sight, tile), attend(newMemory(), x, sight, tile, stretch));
          }),
          { numRuns: 40 },
        );
      });

      /** Rows of queries and of what is added to scores, which is hidden but where one position is seen. */
      function queriesThatSee(sight: Sight, seen: readonly (number | null)[]): Float32Array {
        const width = sight.keyHeads * sight.together * sight.headDim;
        const x = randomFloats(numbers(3), seen.length * (width + sight.positions));
        seen.forEach((position, row) => {
          const end = (row + 1) * (width + sight.positions);
          const mask = x.subarray(end - sight.positions, end).fill(HIDDEN_SCORE);
          if (position !== null) mask[position] = 0;
        });
        return x;
      }

      it("gives a hidden position no weight at all", () => {
        for (const together of [1, 2, 3, 5, 13]) {
          const shape = { together, keyHeads: 1, headDim: 16, positions: 48, slots: 48, numberBytes: 4 } as const;
          const sight = randomSight(numbers(together), shape);
          const seen = [0, 3, 15, 16, 47];
          for (const position of seen) {
            sight.values.fill(1e38).fill(2, 16 * position, 16 * (position + 1));
            const [found] = attend(newMemory(), queriesThatSee(sight, [position]), sight, 1);
            assert.deepEqual([...found], new Array(16 * together).fill(2));
          }
          // Each row has a mask of its own.
          sight.values = sight.values.map((_, i) => Math.floor(i / 16));
          const found = attend(newMemory(), queriesThatSee(sight, seen), sight, tileOf(together));
          assert.deepEqual(
            found.map((row) => [...new Set(row)]),
            seen.map((position) => [position]),
          );
        }
      });

      it("is the mean of all values where every position is hidden", () => {
        const sight = randomSight(numbers(3), {
          together: 3,
          keyHeads: 1,
          headDim: 16,
          positions: 32,
          slots: 48,
          numberBytes: 1,
        });
        sight.values = sight.values.map((_, i) => Math.floor(i / 16));
        for (const found of attend(newMemory(), queriesThatSee(sight, [null, null]), sight, 4))
          for (const value of found) assert.ok(Math.abs(value - 15.5) < 1e-5, `${value}`);
      });

      it("has no number where a value in sight is none: in that column, or all of the head where they share a scale", () => {
        const shape = { together: 2, keyHeads: 1, headDim: 32, positions: 32, slots: 32 };
        for (const numberBytes of [1, 4] as const) {
          const sight = randomSight(numbers(4), { ...shape, numberBytes });
          sight.values[20 * 32 + 17] = Number.NaN;
          const x = randomFloats(numbers(5), 3 * (64 + 32));
          for (const found of attend(newMemory(), x, sight, 2))
            found.forEach((value, i) => {
              assert.equal(Number.isNaN(value), numberBytes === 1 || i % 32 === 17, `${i}`);
            });
        }
      });

      it("is no number where a query is none, in that head of that row only", () => {
        const shape = { together: 2, keyHeads: 2, headDim: 16, positions: 32, slots: 32, numberBytes: 1 } as const;
        const sight = randomSight(numbers(6), shape);
        const x = randomFloats(numbers(7), 3 * (64 + 32));
        x[96 + 20] = Number.NaN;
        attend(newMemory(), x, sight, 6).forEach((found, row) => {
          found.forEach((value, i) => {
            assert.equal(Number.isNaN(value), row === 1 && i >= 16 && i < 32, `row ${row}, ${i}`);
          });
        });
      });
    });

    describe("place", () => {
      it("turns queries and keys by a row's angles, and puts keys and values where they are read", () => {
        const shapes = fc.record({ heads: size(6), keyHeads: size(3), headDim: vectors(4), numberBytes });
        fc.assert(
          fc.property(shapes, size(40), fc.integer(), (of, rows, seed) => {
            const { heads, keyHeads, headDim } = of;
            const random = numbers(seed);
            const width = widthOf(of);
            const x = randomFloats(random, rows * (width + 2 * headDim), 10);
            const angles = Array.from({ length: (rows * headDim) / 2 }, () => 7 * random());
            for (let row = 0; row < rows; row++)
              for (let i = 0; i < headDim; i++) {
                const angle = angles[row * (headDim / 2) + (i >> 1)];
                const at = row * (width + 2 * headDim) + width + i;
                x[at] = Math.cos(angle);
                x[at + headDim] = (i % 2 === 0 ? -1 : 1) * Math.sin(angle);
              }
            place(newMemory(), x, of).forEach((found, row) => {
              const given = x.subarray(row * (width + 2 * headDim)).subarray(0, width);
              const values = given.subarray((heads + keyHeads) * headDim);
              for (let i = 0; i < (heads + keyHeads) * headDim; i += 2) {
                const angle = angles[row * (headDim / 2) + (i % headDim) / 2];
                const [real, imaginary] = [given[i], given[i + 1]];
                [
                  real * Math.cos(angle) - imaginary * Math.sin(angle),
                  imaginary * Math.cos(angle) + real * Math.sin(angle),
                ].forEach((value, j) => {
                  const isRounded = of.numberBytes === 1 && i >= heads * headDim;
                  const most = 1e-5 + (isRounded ? (0.51 / 127) * 10 * Math.SQRT2 : 0);
                  assert.ok(Math.abs(found[i + j] - value) <= most, `${i + j}: ${found[i + j]}, ${value}`);
                });
              }
              // Both have become what is read in their slot.
              const both = found.subarray(heads * headDim, width);
              assert.deepEqual([...found.subarray(width)], [...both, ...both]);
              assert.deepEqual(both.subarray(keyHeads * headDim), kept(values, headDim, of.numberBytes));
            });
          }),
          { numRuns: 30 },
        );
      });
    });

    describe("putRows", () => {
      it("keeps rows as whole numbers and a scale, and gives back what they stand for: zeros, what is smallest and largest", () => {
        const [slots, headDim, slot] = [16, 16, 3];
        for (const largest of [0, 1e-38, 1e-30, 3, 1e30, 3e38]) {
          const memory = newMemory();
          const given = Float32Array.from({ length: headDim }, (_, i) => (largest * (i - 5)) / 10);
          const [tiles, strips] = [0, 1].map(() => placeNumbers(memory, slots * headDim, 0, 1));
          const [keyScales, valueScales] = [0, 1].map(() => memory.allocateFloats(slots));
          const [keys, values] = [memory.place(given), memory.place(given.map((value) => -value))];
          const places = { tiles, strips, slot, slots, headDim, numberBytes: 1, keyScales, valueScales };
          run(memory, "putRows", { keys, values, ...places }, 1);
          const rowOf = (at: number) => memory.floats.slice(at / 4, at / 4 + headDim);
          assert.deepEqual(rowOf(keys), kept(given, headDim, 1));
          assert.deepEqual(
            rowOf(values),
            kept(given, headDim, 1).map((value) => 0 - value),
          );
          for (let i = 0; i < headDim; i++) {
            const key = readNumber(memory, tiles, KEY_TILE * i + slot, 1);
            assert.equal(fround(key * memory.floats[keyScales / 4 + slot]), rowOf(keys)[i]);
            assert.equal(readNumber(memory, strips, slot * VALUE_STRIP + i, 1), 0 - key);
            if (largest > 1e-20) assert.ok(Math.abs(key - 12.7 * (i - 5)) <= 0.501, `${key}`);
          }
        }
      });
    });

    describe("soften", () => {
      /** How far a float32 is from a number, in units of the last place of float32 at that number. */
      const unitsFrom = (found: number, exact: number) =>
        Math.abs(found - exact) / 2 ** (Math.floor(Math.log2(exact)) - 23);

      it("makes e^(score - largest) of scores, within 2 units in the last place, down to -87", () => {
        const even = Array.from({ length: 2 ** 16 }, (_, i) => (-87 * i) / (2 ** 16 - 1));
        // Next to zero, of all sizes; and where the nearest power of two changes.
        const near = Array.from({ length: 600 }, (_, i) => -(2 ** (-i / 4)));
        const halves = Array.from({ length: 125 }, (_, i) => -(i + 0.5) * Math.LN2);
        const edges = halves.flatMap((half) => [-2, -1, 0, 1, 2].map((step) => half * (1 + step * 2 ** -23)));
        const all = [...even, ...near, ...edges];
        const x = new Float32Array(Math.ceil(all.length / 16) * 16);
        x.set(all);
        const [found] = soften(newMemory(), x, x.length).weights;
        let worst = 0;
        x.forEach((score, i) => {
          if (score >= -87) worst = Math.max(worst, unitsFrom(found[i], Math.exp(score)));
        });
        assert.ok(worst <= 2, `${worst}`);
      });

      it("makes 1 of the largest score, whatever it is, and 0 of those that lie more than 87 below", () => {
        for (const largest of [0, 1e-30, -5, 1000, HIDDEN_SCORE, -3e38]) {
          const x = new Float32Array(32).fill(fround(largest) - 1e5 * Math.max(1, Math.abs(largest)));
          x.set([largest, largest], 14);
          if (largest === 0) x.set([Number.NEGATIVE_INFINITY, HIDDEN_SCORE, fround(-87 - 2 ** -17), -88], 3);
          const { weights, factors } = soften(newMemory(), x, x.length);
          assert.deepEqual(
            [...weights[0]],
            [...x].map((score) => Number(score === fround(largest))),
          );
          assert.deepEqual(factors, [0.5]);
        }
      });

      it("has one over the sum of these to multiply them with", () => {
        fc.assert(
          fc.property(size(9), vectors(12), fc.integer(), (rows, positions, seed) => {
            const { weights, factors } = soften(
              newMemory(),
              randomFloats(numbers(seed), rows * positions, 9),
              positions,
            );
            weights.forEach((row, i) => {
              const sum = row.reduce((sum, weight) => sum + weight, 0);
              assert.ok(Math.abs(factors[i] * sum - 1) <= 2e-6, `${factors[i]}, ${sum}`);
            });
          }),
          { numRuns: 30 },
        );
      });
    });

    describe("softmax", () => {
      it("has the masses of logits, of any number of them", () => {
        fc.assert(
          fc.property(size(20), size(100), fc.constantFrom(1, 30), fc.integer(), (rows, width, spread, seed) => {
            const x = randomFloats(numbers(seed), rows * width, spread);
            softmax(newMemory(), x, width).forEach((found, row) => {
              const logits = x.subarray(row * width, (row + 1) * width);
              const largest = Math.max(...logits);
              const weights = [...logits].map((logit) => Math.exp(logit - largest));
              const sum = weights.reduce((a, b) => a + b);
              found.forEach((value, i) => {
                const expected = weights[i] / sum;
                // Differences of logits err by their size.
                assert.ok(Math.abs(value - expected) <= 1e-6 * (1 + spread) * expected, `${value}, ${expected}`);
              });
            });
          }),
          { numRuns: 40 },
        );
      });

      it("is no number where all logits are none, in that row only", () => {
        const [width, rows] = [37, 3];
        const x = new Float32Array(rows * width).fill(-5).fill(Number.NaN, width, 2 * width);
        softmax(newMemory(), x, width).forEach((found, row) => {
          assert.ok(found.every((value) => (row === 1 ? Number.isNaN(value) : value === fround(1 / width))));
        });
      });
    });

    describe("norm", () => {
      it("divides by the root of the mean square and multiplies by the weight", () => {
        fc.assert(
          fc.property(size(40), vectors(40), fc.integer(), (rows, width, seed) => {
            const random = numbers(seed);
            const x = randomFloats(random, rows * width).map((value) => value * 10 ** (8 * random() - 4));
            const weight = randomFloats(random, width);
            norm(newMemory(), x, weight, 1e-5).forEach((found, row) => {
              const own = x.subarray(row * width, (row + 1) * width);
              const root = Math.sqrt(own.reduce((sum, value) => sum + value * value, 0) / width + fround(1e-5));
              found.forEach((value, i) => {
                const expected = (own[i] / root) * weight[i];
                assert.ok(Math.abs(value - expected) <= 1e-6 * Math.abs(expected) + 1e-30, `${value}, ${expected}`);
              });
            });
          }),
          { numRuns: 40 },
        );
      });

      it("leaves zeros, and is no number where one is none", () => {
        const x = new Float32Array(3 * 32);
        x[40] = Number.NaN;
        const [first, second, third] = norm(newMemory(), x, new Float32Array(32).fill(1), 1e-6);
        assert.ok([first, third].every((row) => row.every((value) => value === 0)));
        assert.ok(second.every(Number.isNaN));
      });
    });

    describe("swiGlu", () => {
      it("is silu of the gates times the values behind them, for gates of any size", () => {
        const gate = fc.oneof(
          fc.float({ noNaN: true, min: -200, max: 200 }),
          fc.float({ noNaN: true, min: -1e5, max: 1e5 }),
          fc.constantFrom(0, -0, 1e-40, -1e-40, 87, -87, 88, -88, 89, -89),
        );
        const rows = vectors(4).chain((width) =>
          fc.array(fc.array(gate, { minLength: width, maxLength: width }), { minLength: 1, maxLength: 5 }),
        );
        fc.assert(
          fc.property(rows, (gates) => {
            const values = gates[0].map((_, i) => fround(Math.cos(i)));
            const x = Float32Array.from(gates.flatMap((row) => [...row, ...values]));
            swiGlu(newMemory(), x, values.length).forEach((found, row) => {
              found.forEach((value, i) => {
                const gate = fround(gates[row][i]);
                const expected = (gate / (1 + Math.exp(-gate))) * values[i];
                const off = Math.abs(value - expected);
                assert.ok(off <= 1e-6 * Math.abs(expected) + 1e-30, `${gate}: ${value}, ${expected}`);
              });
            });
          }),
        );
      });

      it("is no number where a gate or a value is none, and nowhere else", () => {
        const width = 32;
        const x = new Float32Array(2 * width).fill(1);
        x[5] = x[width + 20] = Number.NaN;
        const [found] = swiGlu(newMemory(), x, width);
        found.forEach((value, i) => {
          assert.equal(Number.isNaN(value), i === 5 || i === 20);
        });
      });
    });

    describe("add", () => {
      it("adds, as float32 is rounded", () => {
        const number = fc.float({ noDefaultInfinity: true, noNaN: true });
        const pairs = vectors(4).chain((width) =>
          fc.array(fc.array(fc.tuple(number, number), { minLength: width, maxLength: width }), {
            minLength: 1,
            maxLength: 5,
          }),
        );
        fc.assert(
          fc.property(pairs, (rows) => {
            const x = Float32Array.from(rows.flatMap((row) => [0, 1].flatMap((half) => row.map((pair) => pair[half]))));
            assert.deepEqual(
              add(newMemory(), x, rows[0].length),
              rows.map((row) => Float32Array.from(row, ([a, b]) => a + b)),
            );
          }),
        );
      });
    });
  });
