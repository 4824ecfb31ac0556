/**
 * Kernels that multiply rows by 4-bit blocks (docs/checkpoint-format.md, without minima). Activations become whole numbers of 8
 * bits in blocks of 32 with a scale each, as in onnxruntime's `MatMulNBits`; products are summed in integers within a block,
 * then in float32.
 *
 * Rows of weights lie in four streams, for the reason that `products.ts` gives, with their numbers as in the checkpoint.
 * Byte j of a block holds elements 2 j and 2 j + 1, so that lane l of eight int16 holds elements 4 l to 4 l + 3, from the
 * lowest bits on. Each is masked out where it stands, 1, 16 or 256 times as large as it is, and meets an activation that
 * makes it 256 times: one shift instead of three.
 *
 * Shapes: I inputs, O outputs, B = I / 32 blocks, R rows of activations. Pointers count bytes.
 */
import { largestMagnitude, SHIFTER } from "./activations";
import {
  advance,
  define,
  f32x4,
  type I32,
  i8x16,
  i16x8,
  i32,
  i32x4,
  type Local,
  repeat,
  type Statement,
  type V128,
  v128,
} from "./assembler";
import { OUTPUTS_TOGETHER, PAGE_BYTES } from "./products";

/** Inputs of a block. */
export const BLOCK_INPUTS = 32;
/** Bytes of a block's numbers. */
export const BLOCK_BYTES = 16;
/** Bytes of a block of activations: what the weights' zero point takes off, four vectors of int16, and four times the scale. */
export const ACTIVATION_BYTES = 96;
/** Where the scale lies in it. */
const SCALE = 80;
const LARGEST_FLOAT = (2 - 2 ** -23) * 2 ** 127;

/** Turns rows into blocks of whole numbers: `x` [R I] float32 -> [R B] blocks. A block of zeros has zeros and a scale of 0. */
export const quantizeBlocks = quantization((pairs, out, local) => {
  const halves = [0, 1, 2, 3].map(() => local("v128"));
  const byElement = (half: number, lanes: readonly number[]) => i16x8.shuffle(halves[half], halves[half + 2], lanes);
  const [firstOnes, lastOnes] = [
    [0, 1, 2, 3, 8, 9, 10, 11],
    [4, 5, 6, 7, 12, 13, 14, 15],
  ];
  const times = (value: V128, bits: number) => i16x8.shl(value, i32.const(bits));
  return [
    halves[0].set(i16x8.shuffle(pairs[0], pairs[1], [0, 4, 8, 12, 1, 5, 9, 13])),
    halves[1].set(i16x8.shuffle(pairs[0], pairs[1], [2, 6, 10, 14, 3, 7, 11, 15])),
    halves[2].set(i16x8.shuffle(pairs[2], pairs[3], [0, 4, 8, 12, 1, 5, 9, 13])),
    halves[3].set(i16x8.shuffle(pairs[2], pairs[3], [2, 6, 10, 14, 3, 7, 11, 15])),
    v128.store(out, times(byElement(0, firstOnes), 8), 16),
    v128.store(out, times(byElement(0, lastOnes), 4), 32),
    v128.store(out, byElement(1, firstOnes), 48),
    v128.store(out, times(byElement(1, lastOnes), 8), 64),
  ];
}, 256);

/** The same for `blockProductOfBytes`: in place of four vectors of int16 two of int8, elements 0, 2, 4 ... and 1, 3, 5 ... */
export const quantizeToBytes = quantization((pairs, out, local) => {
  const [first, last] = [local("v128"), local("v128")];
  const every = (from: number) => Array.from({ length: 16 }, (_, i) => 2 * i + from);
  return [
    first.set(i8x16.narrow(pairs[0], pairs[1])),
    last.set(i8x16.narrow(pairs[2], pairs[3])),
    v128.store(out, i8x16.shuffle(first, last, every(0)), 16),
    v128.store(out, i8x16.shuffle(first, last, every(1)), 32),
  ];
}, 1);

/**
 * @param lay writes a block's elements, given as eight int16 each
 * @param times as large as it is a product with them is
 */
function quantization(
  lay: (pairs: readonly Local<"v128">[], out: I32, local: (type: "v128") => Local<"v128">) => Statement[],
  times: 1 | 256,
) {
  return define("quantizeBlocks", { x: "i32", out: "i32", inputs: "i32" }, "none", ({ x, out, inputs }, local) => {
    const end = local("i32");
    const [largest, inverse, sum] = [local("v128"), local("v128"), local("v128")];
    const whole = [0, 1, 2, 3, 4, 5, 6, 7].map(() => local("v128"));
    const pairs = [0, 1, 2, 3].map(() => local("v128"));
    return [
      end.set(i32.add(x, i32.shl(inputs, i32.const(2)))),
      repeat(
        x,
        end,
        4 * BLOCK_INPUTS,
        ...largestMagnitude(
          largest,
          whole.map((_, i) => f32x4.abs(v128.load(x, 16 * i))),
        ),
        // Infinite for zeros and the smallest numbers, which would become the largest int32.
        inverse.set(f32x4.lesser(f32x4.div(f32x4.const(127), largest), f32x4.const(LARGEST_FLOAT))),
        ...whole.map((value, i) => value.set(nearest(f32x4.mul(v128.load(x, 16 * i), inverse)))),
        sum.set(whole.reduce<V128>((total, value) => i32x4.add(total, value), i32x4.splat(i32.const(0)))),
        // Numbers of weights stand for themselves less 8.
        v128.store(out, i32x4.sub(i32x4.splat(i32.const(0)), i32x4.shl(sum, i32.const(3 + Math.log2(times))))),
        ...pairs.map((pair, i) => pair.set(i16x8.narrow(whole[2 * i], whole[2 * i + 1]))),
        ...lay(pairs, out, local),
        v128.store(out, f32x4.mul(f32x4.div(largest, f32x4.const(127)), f32x4.const(1 / times)), SCALE),
        advance(out, ACTIVATION_BYTES),
      ),
    ];
  });
}

/** Nearest int32 of numbers below 2 ** 22. */
function nearest(x: V128): V128 {
  const bits = new Int32Array(Float32Array.of(SHIFTER).buffer)[0];
  return i32x4.sub(f32x4.add(x, f32x4.const(SHIFTER)), i32x4.splat(i32.const(bits)));
}

/**
 * `x`, a row's blocks, times four rows of weights, `groups` times -> `out`. The first of each four rows lie in the stream that begins
 * at `weights`, the second in one `streamBytes` behind it, and so on; `scales` [O / 4, B, 4].
 */
export const blockProduct = product((local) => {
  const numbers = local("v128");
  const elements = elementsOf(numbers, local);
  const activations = [0, 1, 2, 3].map(() => local("v128"));
  return {
    numbers,
    prepare: elements.prepare,
    activations,
    sum: (offset) =>
      activations
        .map((activation, i) => i32x4.dot(elements.values[i], activation))
        .reduce((total, each) => i32x4.add(total, each), offset),
  };
});

/**
 * The same with products of bytes, where the engine has them: a third fewer instructions. Two products of 127 and 15 are far from
 * what 16 bits hold.
 */
export const blockProductOfBytes = product((local) => {
  const [numbers, ones, mask] = [local("v128"), local("v128"), local("v128")];
  const activations = [local("v128"), local("v128")];
  return {
    numbers,
    prepare: [ones.set(v128.const16(1)), mask.set(v128.const16(0x0f0f))],
    activations,
    sum: (offset) => {
      const halves = [v128.and(numbers, mask), v128.and(i16x8.shr(numbers, i32.const(4)), mask)];
      const [low, high] = halves.map((half, i) => i16x8.dotOfBytes(activations[i], half));
      return i32x4.add(offset, i32x4.dot(i16x8.add(low, high), ones));
    },
  };
});

/** How a block of numbers is multiplied by one of activations. */
interface BlockDot {
  numbers: Local<"v128">;
  prepare: Statement[];
  /** The vectors of a block of activations, behind the first. */
  activations: Local<"v128">[];
  /** Sums of products in four lanes, besides those of `offset`. */
  sum(offset: V128): V128;
}

function product(dotOf: (local: (type: "v128") => Local<"v128">) => BlockDot) {
  return define(
    "blockProduct",
    { x: "i32", weights: "i32", streamBytes: "i32", scales: "i32", out: "i32", blocks: "i32", groups: "i32" },
    "none",
    ({ x, weights, streamBytes, scales, out, blocks, groups }, local) => {
      const [group, pointer, end] = [local("i32"), local("i32"), local("i32")];
      const streams = [weights, local("i32"), local("i32"), local("i32")];
      const sums = streams.map(() => local("v128"));
      const scale = local("v128");
      const { numbers, prepare, activations, sum: dot } = dotOf(local);
      return [
        end.set(i32.add(x, i32.mul(blocks, i32.const(ACTIVATION_BYTES)))),
        ...prepare,
        ...streams.slice(1).map((stream, i) => stream.set(i32.add(streams[i], streamBytes))),
        repeat(
          group,
          groups,
          1,
          ...sums.map((sum) => sum.set(f32x4.const(0))),
          pointer.set(x),
          repeat(
            pointer,
            end,
            ACTIVATION_BYTES,
            ...activations.map((activation, i) => activation.set(v128.load(pointer, 16 * (i + 1)))),
            scale.set(f32x4.mul(v128.load(scales), v128.load(pointer, SCALE))),
            ...sums.flatMap((sum, output) => {
              const ofOutput = v128.shuffle(scale, scale, [output, output, output, output]);
              return [
                numbers.set(v128.load(streams[output])),
                sum.set(f32x4.add(sum, f32x4.mul(f32x4.ofInt32(dot(v128.load(pointer))), ofOutput))),
                advance(streams[output], BLOCK_BYTES),
              ];
            }),
            advance(scales, 16),
          ),
          v128.store(out, laneSums(sums)),
          advance(out, 4 * OUTPUTS_TOGETHER),
        ),
      ];
    },
  );
}

/** The four elements of each lane of `numbers`, as int16 that are 1, 16, 256 and 1 times as large. */
function elementsOf(numbers: Local<"v128">, local: (type: "v128") => Local<"v128">) {
  const masks = [0x000f, 0x00f0, 0x0f00].map((mask) => ({ mask, lanes: local("v128") }));
  return {
    prepare: masks.map(({ mask, lanes }) => lanes.set(v128.const16(mask))),
    values: [...masks.map(({ lanes }) => v128.and(numbers, lanes)), i16x8.shr(numbers, i32.const(12))],
  };
}

/** The sum of all lanes of each of four vectors. */
function laneSums([a, b, c, d]: readonly Local<"v128">[]): V128 {
  const half = (first: V128, second: V128) =>
    f32x4.add(v128.shuffle(first, second, [0, 1, 4, 5]), v128.shuffle(first, second, [2, 3, 6, 7]));
  const [ab, cd] = [half(a, b), half(c, d)];
  return f32x4.add(v128.shuffle(ab, cd, [0, 2, 4, 6]), v128.shuffle(ab, cd, [1, 3, 5, 7]));
}

/** Where a matrix lies: its rows in four streams of `streamBytes`, which begin at whole pages, then the scales. */
export interface PackedBlocks {
  streamBytes: number;
  /** Of the scales, from the beginning. */
  scalesAt: number;
  byteLength: number;
}

/** Room for weights [O, I], O a multiple of 4. */
export function packedBlocks(outputs: number, inputs: number): PackedBlocks {
  const rowBytes = (inputs / BLOCK_INPUTS) * BLOCK_BYTES;
  const streamBytes = Math.ceil(((outputs / OUTPUTS_TOGETHER) * rowBytes) / PAGE_BYTES) * PAGE_BYTES;
  const scalesAt = OUTPUTS_TOGETHER * streamBytes;
  return { streamBytes, scalesAt, byteLength: scalesAt + (outputs * rowBytes) / 4 };
}

/**
 * Writes numbers [O, B, 16 bytes] and scales [O, B] as the kernels read them.
 * @param to where the matrix begins
 * @param first output of these, where the matrix has others before them; a multiple of 4
 */
export function packBlocks(
  to: Uint8Array,
  { streamBytes, scalesAt }: PackedBlocks,
  first: number,
  numbers: Uint8Array,
  scales: Float32Array,
  blocks: number,
): void {
  const rowBytes = blocks * BLOCK_BYTES;
  const outputs = scales.length / blocks;
  const packedScales = new Float32Array(to.buffer, to.byteOffset + scalesAt, to.byteLength / 4 - scalesAt / 4);
  for (let output = 0; output < outputs; output++) {
    const [group, stream] = [Math.floor((first + output) / OUTPUTS_TOGETHER), (first + output) % OUTPUTS_TOGETHER];
    to.set(numbers.subarray(output * rowBytes, (output + 1) * rowBytes), stream * streamBytes + group * rowBytes);
    for (
      let block = 0, at = group * blocks * OUTPUTS_TOGETHER + stream;
      block < blocks;
      block++, at += OUTPUTS_TOGETHER
    )
      packedScales[at] = scales[output * blocks + block];
  }
}
