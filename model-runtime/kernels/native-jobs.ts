/** Jobs that the native kernels have (`native/jobs.c`), and how they want weights to lie. */

/** Names of the arguments of each job, in their order, 32 bits each. */
export const nativeJobArguments = {
  /** Rows, as `roundBlocks` gives them, times weights in blocks (`packNativeBlocks`): a part is so many `groups` of 16 outputs. */
  multiplyBlocks: ["x", "xBytes", "rows", "weights", "out", "outBytes", "blocks", "groups", "allGroups"],
  /** Rows, as `roundRows` gives them, times int8 rows (`packNativeIntegers`): a part is so many `groups` of 16 outputs. */
  multiplyIntegers: [
    "x",
    "xBytes",
    "largest",
    "rows",
    "weights",
    "sums",
    "scales",
    "out",
    "outBytes",
    "inputs",
    "groups",
    "allGroups",
  ],
  /**
   * Scores of a few rows, `scale` times what queries and keys give: a part is one of so many `stretches` of positions of a key head of so many
   * rows, a `tile`, stretches of a key head behind each other, key heads of a tile likewise. Scores [R, H, `slots`] are only what `soften` and
   * `sum` read. At `sight` are the number of positions and a stretch's: those behind the last one are empty.
   */
  score: [
    "queries",
    "queryBytes",
    "rows",
    "keys",
    "headBytes",
    "mask",
    "maskBytes",
    "scores",
    "keyHeads",
    "together",
    "headDim",
    "slots",
    "sight",
    "stretches",
    "tile",
    "scale",
    "numberBytes",
    "keyScales",
  ],
  /** Softmax of a head's scores, but for the `factors` [R, H] that they are to be multiplied with: a part is a head of a row. */
  soften: ["scores", "rows", "keyHeads", "together", "slots", "sight", "tile", "factors", "numberBytes", "valueScales"],
  /** Sums of values by these weights: a part is 16 columns of a key head of a tile. */
  sum: [
    "scores",
    "rows",
    "factors",
    "values",
    "headBytes",
    "out",
    "outBytes",
    "keyHeads",
    "together",
    "headDim",
    "slots",
    "sight",
    "tile",
    "numberBytes",
  ],
  /** Attention for many rows, from scores to sums: a part is a key head of `tile` rows. A row sees nothing from its end [R] on. */
  attend: [
    "queries",
    "queryBytes",
    "rows",
    "keys",
    "values",
    "headBytes",
    "mask",
    "maskBytes",
    "out",
    "outBytes",
    "keyHeads",
    "together",
    "headDim",
    "slots",
    "ends",
    "tile",
    "scratch",
    "scratchBytes",
    "scale",
    "numberBytes",
    "keyScales",
    "valueScales",
  ],
  /** RMSNorm; a part of this job and of those below is a row. `epsilon`, `step` and `scale` are the bits of float32 (`floatBits`). */
  norm: ["x", "xBytes", "weight", "out", "outBytes", "width", "epsilon"],
  roundBlocks: ["x", "xBytes", "out", "outBytes", "inputs"],
  roundRows: ["x", "xBytes", "out", "outBytes", "largest", "inputs", "step"],
  swiGlu: ["x", "xBytes", "width"],
  add: ["x", "xBytes", "y", "yBytes", "width"],
  /** Rows times float32 rows (`packNativeFloats`): a part is a group of 16 outputs. */
  multiplyFloats: ["x", "xBytes", "rows", "weights", "out", "outBytes", "inputs", "isAdded"],
  /**
   * Rotates queries and keys of rows, and puts keys and values into slots [R] and, [2, key heads, R, head width], where they are read
   * for a `KvCache`.
   */
  place: [
    "x",
    "xBytes",
    "rows",
    "turns",
    "turnBytes",
    "heads",
    "keyHeads",
    "headDim",
    "slotsOfRows",
    "keys",
    "values",
    "headBytes",
    "slots",
    "made",
    "numberBytes",
    "keyScales",
    "valueScales",
  ],
  /**
   * Rows, as `roundBlocks` gives them, times the upper halves of int8 rows (`packNativeHalves`), about what the rows themselves give: a part is
   * so many `groups` of 16 outputs.
   */
  estimate: ["x", "xBytes", "rows", "upper", "scales", "out", "outBytes", "blocks", "groups", "allGroups"],
  /** Largest values of rows, with room behind them for whole groups of 16, less `margin` (its bits): a part is a row. */
  limit: ["x", "xBytes", "width", "margin", "limits"],
  /**
   * Makes estimates what both halves of int8 rows give, 16 outputs at a time, where one of them is above the row's limit: a part is so many
   * `groups` of 16 outputs.
   */
  refine: [
    "x",
    "xBytes",
    "rows",
    "upper",
    "lower",
    "scales",
    "out",
    "outBytes",
    "blocks",
    "groups",
    "allGroups",
    "limits",
  ],
  /** Softmax of rows, with room behind them for whole groups of 16: a part is a row. */
  softmax: ["x", "xBytes", "width"],
  /**
   * Puts keys and values [rows, D] of one head into the slots from `slot` on, as numbers of so many bytes, and makes them what is read there:
   * a part is a row.
   */
  putRows: ["keys", "values", "tiles", "strips", "slot", "slots", "headDim", "numberBytes", "keyScales", "valueScales"],
} as const;

/** A job by name; its kind is its place. */
export const nativeJobNames = [
  "multiplyBlocks",
  "multiplyIntegers",
  "score",
  "soften",
  "sum",
  "attend",
  "norm",
  "roundBlocks",
  "roundRows",
  "swiGlu",
  "add",
  "multiplyFloats",
  "place",
  "estimate",
  "softmax",
  "putRows",
  "limit",
  "refine",
] as const;
export type NativeJobName = keyof typeof nativeJobArguments;
export type NativeJobArgument<J extends NativeJobName> = (typeof nativeJobArguments)[J][number];

/** Outputs whose weights lie together; O is filled up to a multiple of it. */
export const OUTPUTS_OF_GROUP = 16;
/** Queries that meet a key at a time, at most: scores of so many are worked on in a thread's scratch. */
export const MOST_QUERIES = 12;
/** Inputs of a block, as in blocks.ts. */
const BLOCK_INPUTS = 32;
/** How wide a head is at most. */
export const MOST_CHANNELS = 512;
const FOUR = 4;
/** Bytes of a block of activations: whole numbers, their scale, and what the weights' zero point takes off. */
export const NATIVE_ACTIVATION_BYTES = 40;
/** Bytes of a block of 16 outputs' numbers, and with their scales behind them. */
const NUMBERS_BYTES = 256;
const BLOCK_BYTES = NUMBERS_BYTES + 2 * OUTPUTS_OF_GROUP;

/** Outputs that are computed for so many that are wanted. */
export function inGroups(outputs: number): number {
  return Math.ceil(outputs / OUTPUTS_OF_GROUP) * OUTPUTS_OF_GROUP;
}

const scratch = new Float32Array(1);
const scratchBits = new Int32Array(scratch.buffer);

/** A float32 as an argument. */
export function floatBits(value: number): number {
  scratch[0] = value;
  return scratchBits[0];
}

/** Bytes of 4-bit weights [O, I]. */
export function nativeBlocksBytes(outputs: number, inputs: number): number {
  return (inGroups(outputs) / OUTPUTS_OF_GROUP) * (inputs / BLOCK_INPUTS) * BLOCK_BYTES;
}

/**
 * Writes numbers [O, B, 16 bytes], two to a byte, and scales [O, B], the bits of F16, as the kernels read them: [O / 16, B], in each the 16
 * outputs beside each other, four inputs at a time.
 * @param to where the matrix begins; a multiple of 4
 * @param first output of these, where the matrix has others before them
 * @param numbers begin at a multiple of 2
 */
export function packNativeBlocks(
  to: Uint8Array,
  first: number,
  numbers: Uint8Array,
  scales: Uint16Array,
  blocks: number,
): void {
  const words = new Uint32Array(to.buffer, to.byteOffset, to.byteLength / 4);
  const halves = new Uint16Array(to.buffer, to.byteOffset, to.byteLength / 2);
  const pairs = new Uint16Array(numbers.buffer, numbers.byteOffset, numbers.length / 2);
  const far = BLOCK_INPUTS / 8;
  for (let output = 0, from = 0, scale = 0; output < scales.length / blocks; output++) {
    const [group, lane] = [Math.floor((first + output) / OUTPUTS_OF_GROUP), (first + output) % OUTPUTS_OF_GROUP];
    for (let block = 0; block < blocks; block++, from += 2 * far, scale++) {
      const start = (group * blocks + block) * BLOCK_BYTES;
      // Byte i of a block holds inputs 2 i and 2 i + 1; here a byte holds inputs i and i + 16.
      for (let four = 0, at = start / 4 + lane; four < far; four++, at += OUTPUTS_OF_GROUP)
        words[at] = spread(pairs[from + four]) | (spread(pairs[from + four + far]) << 4);
      halves[(start + NUMBERS_BYTES) / 2 + lane] = scales[scale];
    }
  }
}

/** Four numbers of 4 bits in a byte each. */
function spread(four: number): number {
  const pairs = (four & 0xff) | ((four & 0xff00) << 8);
  return (pairs | (pairs << 4)) & 0x0f0f0f0f;
}

/**
 * Writes int8 rows [O, I] as the kernels read them, [O / 16, I / 4, 16, 4].
 * @param to as many bytes, zeros, for O up to the next multiple of 16; begins at a multiple of 4
 */
export function packNativeIntegers(to: Uint8Array, rows: Int8Array, inputs: number): void {
  const outputs = rows.length / inputs;
  const words = new Int32Array(to.buffer, to.byteOffset, to.byteLength / FOUR);
  const given = new Int32Array(rows.buffer, rows.byteOffset, rows.length / FOUR);
  for (let output = 0, from = 0; output < outputs; output++) {
    const lane = output % OUTPUTS_OF_GROUP;
    const start = ((output - lane) * inputs) / FOUR + lane;
    for (let four = 0; four < inputs / FOUR; four++, from++) words[start + four * OUTPUTS_OF_GROUP] = given[from];
  }
}

/**
 * Writes int8 rows [O, I] in two halves of 4 bits each, as the kernels read them: [O / 16, B] as 4-bit blocks without scales.
 * @param upper weights' upper halves, 8 larger: I / 2 bytes an output, zeros, for O up to the next multiple of 16; begins at a multiple of 4
 * @param lower likewise
 */
export function packNativeHalves(upper: Uint8Array, lower: Uint8Array, rows: Int8Array, inputs: number): void {
  const words = (bytes: Uint8Array) => new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / FOUR);
  const [uppers, lowers] = [words(upper), words(lower)];
  const given = new Int32Array(rows.buffer, rows.byteOffset, rows.length / FOUR);
  const far = BLOCK_INPUTS / (2 * FOUR);
  const blocks = inputs / BLOCK_INPUTS;
  for (let output = 0, from = 0; output < rows.length / inputs; output++) {
    const lane = output % OUTPUTS_OF_GROUP;
    let at = ((output - lane) * blocks * NUMBERS_BYTES) / (OUTPUTS_OF_GROUP * FOUR) + lane;
    for (let block = 0; block < blocks; block++, from += far)
      for (let four = 0; four < far; four++, from++, at += OUTPUTS_OF_GROUP) {
        const near = given[from];
        const other = given[from + far];
        uppers[at] = upperHalves(near) | (upperHalves(other) << 4);
        lowers[at] = (near & 0x0f0f0f0f) | ((other & 0x0f0f0f0f) << 4);
      }
  }
}

/** Of four int8 their upper halves, 8 larger. */
function upperHalves(four: number): number {
  return ((four ^ 0x80808080) >>> 4) & 0x0f0f0f0f;
}

/** Words whose bytes can be added in halves of a word: 256 times 255 is the last sum below 2 ** 16. */
const WORDS_OF_SUM = 256;

/** Sums of int8 rows [O, I], as `multiplyIntegers` wants them: zeros where O is no multiple of 16. Four numbers are added at a time, made 128 larger. */
export function sumsOfIntegers(rows: Int8Array, inputs: number): Int32Array {
  const sums = new Int32Array(inGroups(rows.length / inputs));
  const words = new Int32Array(rows.buffer, rows.byteOffset, rows.length / FOUR);
  for (let output = 0, at = 0; at < words.length; output++) {
    let sum = -128 * inputs;
    for (const end = at + inputs / FOUR; at < end; ) {
      let even = 0;
      let odd = 0;
      for (const stop = Math.min(end, at + WORDS_OF_SUM); at < stop; at++) {
        const four = words[at] ^ 0x80808080;
        even += four & 0x00ff00ff;
        odd += (four >>> 8) & 0x00ff00ff;
      }
      sum += (even & 0xffff) + (even >>> 16) + (odd & 0xffff) + (odd >>> 16);
    }
    sums[output] = sum;
  }
  return sums;
}

/** Float32 rows [O, I] as the kernels read them, [O / 16, I, 16], zeros where O is no multiple of 16. */
export function packNativeFloats(rows: Float32Array, inputs: number): Float32Array {
  const outputs = rows.length / inputs;
  const packed = new Float32Array(inGroups(outputs) * inputs);
  for (let output = 0; output < outputs; output++) {
    const lane = output % OUTPUTS_OF_GROUP;
    const start = (output - lane) * inputs + lane;
    for (let input = 0; input < inputs; input++)
      packed[start + input * OUTPUTS_OF_GROUP] = rows[output * inputs + input];
  }
  return packed;
}
