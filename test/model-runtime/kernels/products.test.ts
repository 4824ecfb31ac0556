import assert from "node:assert/strict";
import fc from "fast-check";
import { filledUp, packFloats, packIntegers } from "../../../model-runtime/kernels/products";
import { RowMemory } from "../../../model-runtime/kernels/row-kernels";

const finite = fc.float({ noNaN: true, noDefaultInfinity: true, min: -1e6, max: 1e6 });
const width = fc.integer({ min: 1, max: 12 }).map((vectors) => 16 * vectors);

/** A row [I]. */
const rows = width.chain((inputs) =>
  fc.array(finite, { minLength: inputs, maxLength: inputs }).map((values) => Float32Array.from(values)),
);

/** The whole numbers that `quantize` gives. */
function quantized(x: Float32Array, step: number): { integers: Int16Array; largest: number } {
  const memory = RowMemory.create()!;
  const [from, to] = [memory.place(x), memory.allocate(2 * x.length)];
  const largest = memory.kernels.quantize(from, to, x.length, step);
  const bytes = Uint8Array.from(new Uint8Array(memory.floats.buffer, to, 2 * x.length));
  return { integers: new Int16Array(bytes.buffer), largest };
}

describe("quantize", () => {
  it("divides by the largest magnitude and by the step, in float32, and rounds halves to the even number", () => {
    fc.assert(
      fc.property(rows, fc.constantFrom(127, 63), (x, levels) => {
        const step = Math.fround(1 / levels);
        const { integers, largest } = quantized(x, step);
        assert.equal(
          largest,
          x.reduce((most, value) => Math.max(most, Math.abs(value)), 0),
        );
        if (largest === 0) return;
        x.forEach((value, i) => {
          const steps = Math.fround(Math.fround(value / largest) / step);
          const down = Math.floor(steps);
          const isUp = steps - down > 0.5 || (steps - down === 0.5 && down % 2 !== 0);
          assert.ok(integers[i] === (isUp ? down + 1 : down), `${value} of ${largest}`);
        });
      }),
    );
  });

  it("makes some numbers of a row of zeros", () => {
    const { integers, largest } = quantized(new Float32Array(32), 1 / 127);
    assert.equal(largest, 0);
    assert.ok(integers.every((value) => Math.abs(value) <= 127));
  });
});

describe("integerProduct", () => {
  it("sums whole products exactly, then scales them", () => {
    fc.assert(
      fc.property(width, fc.integer({ min: 1, max: 23 }), fc.integer(), (inputs, outputs, seed) => {
        const memory = RowMemory.create()!;
        const number = numbers(seed);
        const x = Int16Array.from({ length: inputs }, () => number(127));
        const weights = Int8Array.from({ length: inputs * outputs }, () => number(127));
        const scales = new Float32Array(filledUp(outputs)).map(() => number(100) / 64);
        const to = memory.allocateFloats(filledUp(outputs));
        const from = memory.place(new Int8Array(x.buffer));
        const { packed, streamBytes } = packIntegers(weights, inputs);
        const [at, factors] = [memory.place(packed), memory.place(scales)];
        memory.kernels.integerProduct(from, at, streamBytes, factors, to, inputs, outputs, 0.7);
        for (let output = 0; output < outputs; output++) {
          let sum = 0;
          for (let i = 0; i < inputs; i++) sum += x[i] * weights[output * inputs + i];
          const expected = Math.fround(Math.fround(sum * scales[output]) * Math.fround(0.7));
          assert.ok(memory.floats[to / 4 + output] === expected, `output ${output}`);
        }
      }),
    );
  });

  it("holds the largest sums", () => {
    const memory = RowMemory.create()!;
    const inputs = 4096;
    const x = memory.place(new Int8Array(new Int16Array(inputs).fill(127).buffer));
    const { packed, streamBytes } = packIntegers(new Int8Array(4 * inputs).fill(-127), inputs);
    const weights = memory.place(packed);
    const [scales, out] = [memory.place(new Float32Array(4).fill(1)), memory.allocateFloats(4)];
    memory.kernels.integerProduct(x, weights, streamBytes, scales, out, inputs, 4, 1);
    assert.deepEqual([...memory.floats.subarray(out / 4, out / 4 + 4)], new Array(4).fill(-127 * 127 * inputs));
  });
});

describe("floatProduct", () => {
  it("is the product in float64 within rounding", () => {
    fc.assert(
      fc.property(width, fc.integer({ min: 1, max: 23 }), fc.integer(), (inputs, outputs, seed) => {
        const memory = RowMemory.create()!;
        const number = numbers(seed);
        const x = Float32Array.from({ length: inputs }, () => number(1000) / 300);
        const weights = Float32Array.from({ length: inputs * outputs }, () => number(1000) / 300);
        const [from, to] = [memory.place(x), memory.allocateFloats(filledUp(outputs))];
        memory.kernels.floatProduct(from, memory.place(packFloats(weights, inputs)), to, inputs, outputs);
        for (let output = 0; output < outputs; output++) {
          let [sum, size] = [0, 0];
          for (let i = 0; i < inputs; i++) {
            sum += x[i] * weights[output * inputs + i];
            size += Math.abs(x[i] * weights[output * inputs + i]);
          }
          assert.ok(Math.abs(memory.floats[to / 4 + output] - sum) <= 1e-6 * size, `output ${output}`);
        }
      }),
    );
  });
});

/** Whole numbers from -most to most. */
function numbers(seed: number): (most: number) => number {
  let state = seed >>> 0;
  return (most) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * (2 * most + 1)) - most;
  };
}
