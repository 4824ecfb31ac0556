/**
 * Kernels that multiply one row by a matrix, four rows of weights at a time, so that each piece of the row is read once for four
 * outputs.
 *
 * Int8 rows lie in four streams: in the first the rows 0, 4, 8 ..., in the second 1, 5, 9 ... A processor reads a stream ahead, but
 * no further than the end of a page of memory. Where the next page begins it has to be waited for, and all four are waited for at
 * once where all begin at the same place in a page (docs/performance-engine.md, "A byte in the byte networks").
 *
 * Shapes: I inputs, O outputs. Sizes are numbers of values, pointers count bytes.
 */
import { largestMagnitude } from "./activations";
import { advance, define, f32x4, i16x8, i32, i32x4, type Local, repeat, v128 } from "./assembler";

/** Rows of weights that lie together; O is filled up to a multiple of it. */
export const OUTPUTS_TOGETHER = 4;
/** I of int8 weights is a multiple of it. */
export const INPUTS_TOGETHER = 16;
/** Bytes of a page of memory; streams of int8 rows begin at a multiple of them. */
export const PAGE_BYTES = 4096;

/**
 * Turns a row into whole numbers: `x` [I] float32, divided by its largest magnitude and by `step` -> `integers` [I] int16.
 * Returns the largest magnitude. The divisions and the rounding are those of the nodes that `rowsLinear` makes.
 */
export const quantize = define(
  "quantize",
  { x: "i32", integers: "i32", inputs: "i32", step: "f32" },
  "f32",
  ({ x, integers, inputs, step }, local) => {
    const [pointer, end] = [local("i32"), local("i32")];
    const [largest, steps] = [local("v128"), local("v128")];
    const whole = (offset: number) => {
      const parts = f32x4.div(v128.load(pointer, offset), largest);
      return i32x4.truncate(f32x4.nearest(f32x4.div(parts, steps)));
    };
    return [
      end.set(i32.add(x, i32.shl(inputs, i32.const(2)))),
      pointer.set(x),
      repeat(pointer, end, 16, largest.set(i32x4.max(largest, f32x4.abs(v128.load(pointer))))),
      ...largestMagnitude(largest, [largest]),
      steps.set(f32x4.splat(step)),
      pointer.set(x),
      repeat(pointer, end, 32, v128.store(integers, i16x8.narrow(whole(0), whole(16))), advance(integers, 16)),
      f32x4.lane(largest, 0),
    ];
  },
);

/**
 * `integers` [I] times int8 rows, as `packIntegers` lays them in streams of `streamBytes` -> `out` [O] = sum * scale * `largest`,
 * sums in int32, which is what `rowsLinear` gives. `scales` [O] are those of the weights times the step of the integers.
 */
export const integerProduct = define(
  "integerProduct",
  {
    integers: "i32",
    weights: "i32",
    streamBytes: "i32",
    scales: "i32",
    out: "i32",
    inputs: "i32",
    outputs: "i32",
    largest: "f32",
  },
  "none",
  ({ integers, weights, streamBytes, scales, out, inputs, outputs, largest }, local) => {
    const [output, pointer, end] = [local("i32"), local("i32"), local("i32")];
    const streams = [weights, local("i32"), local("i32"), local("i32")];
    const sums = streams.map(() => local("v128"));
    const [low, high] = [local("v128"), local("v128")];
    const [ofFirst, ofLast] = [local("v128"), local("v128")];
    // Sums of lanes of two vectors a and b, half done: a, a, b, b.
    const halfSums = (a: Local<"v128">, b: Local<"v128">) =>
      i32x4.add(v128.shuffle(a, b, [0, 1, 4, 5]), v128.shuffle(a, b, [2, 3, 6, 7]));
    const wholeSums = i32x4.add(
      v128.shuffle(ofFirst, ofLast, [0, 2, 4, 6]),
      v128.shuffle(ofFirst, ofLast, [1, 3, 5, 7]),
    );
    return [
      end.set(i32.add(integers, i32.shl(inputs, i32.const(1)))),
      ...streams.slice(1).map((stream, i) => stream.set(i32.add(streams[i], streamBytes))),
      repeat(
        output,
        outputs,
        OUTPUTS_TOGETHER,
        ...sums.map((sum) => sum.set(i32x4.splat(i32.const(0)))),
        pointer.set(integers),
        repeat(
          pointer,
          end,
          2 * INPUTS_TOGETHER,
          low.set(v128.load(pointer)),
          high.set(v128.load(pointer, 16)),
          ...sums.map((sum, i) => {
            const ofLow = i32x4.dot(low, v128.load8x8(streams[i]));
            return sum.set(i32x4.add(sum, i32x4.add(ofLow, i32x4.dot(high, v128.load8x8(streams[i], 8)))));
          }),
          ...streams.map((stream) => advance(stream, INPUTS_TOGETHER)),
        ),
        ofFirst.set(halfSums(sums[0], sums[1])),
        ofLast.set(halfSums(sums[2], sums[3])),
        v128.store(out, f32x4.mul(f32x4.mul(f32x4.ofInt32(wholeSums), v128.load(scales)), f32x4.splat(largest))),
        advance(scales, 16),
        advance(out, 16),
      ),
    ];
  },
);

/** `x` [I] times float32 rows as `packFloats` lays them -> `out` [O]; I is a multiple of 4. */
export const floatProduct = define(
  "floatProduct",
  { x: "i32", weights: "i32", out: "i32", inputs: "i32", outputs: "i32" },
  "none",
  ({ x, weights, out, inputs, outputs }, local) => {
    const [output, pointer, end] = [local("i32"), local("i32"), local("i32")];
    const sums = [0, 1, 2, 3].map(() => local("v128"));
    return [
      end.set(i32.add(x, i32.shl(inputs, i32.const(2)))),
      repeat(
        output,
        outputs,
        OUTPUTS_TOGETHER,
        ...sums.map((sum) => sum.set(f32x4.const(0))),
        pointer.set(x),
        repeat(
          pointer,
          end,
          16,
          ...sums.map((sum, i) =>
            sum.set(f32x4.add(sum, f32x4.mul(v128.loadSplat32(pointer, 4 * i), v128.load(weights, 16 * i)))),
          ),
          advance(weights, 64),
        ),
        v128.store(out, f32x4.add(f32x4.add(sums[0], sums[1]), f32x4.add(sums[2], sums[3]))),
        advance(out, 16),
      ),
    ];
  },
);

/** Int8 rows [O, I] as `integerProduct` reads them, four streams of `streamBytes` each. */
export function packIntegers(rows: Int8Array, inputs: number): { packed: Int8Array; streamBytes: number } {
  const outputs = rows.length / inputs;
  const streamBytes = Math.ceil((filledUp(outputs) / OUTPUTS_TOGETHER) * (inputs / PAGE_BYTES)) * PAGE_BYTES;
  const packed = new Int8Array(OUTPUTS_TOGETHER * streamBytes);
  for (let output = 0; output < outputs; output++) {
    const stream = output % OUTPUTS_TOGETHER;
    const at = stream * streamBytes + ((output - stream) / OUTPUTS_TOGETHER) * inputs;
    packed.set(rows.subarray(output * inputs, (output + 1) * inputs), at);
  }
  return { packed, streamBytes };
}

/** Float32 rows [O, I] as `floatProduct` reads them, [O / 4, I, 4], zeros where O is no multiple of 4. */
export function packFloats(rows: Float32Array, inputs: number): Float32Array {
  const outputs = rows.length / inputs;
  const packed = new Float32Array(filledUp(outputs) * inputs);
  for (let output = 0; output < outputs; output++) {
    const group = output - (output % OUTPUTS_TOGETHER);
    for (let input = 0; input < inputs; input++)
      packed[group * inputs + OUTPUTS_TOGETHER * input + (output % OUTPUTS_TOGETHER)] = rows[output * inputs + input];
  }
  return packed;
}

/** Outputs that are computed for so many that are wanted. */
export function filledUp(outputs: number): number {
  return Math.ceil(outputs / OUTPUTS_TOGETHER) * OUTPUTS_TOGETHER;
}
