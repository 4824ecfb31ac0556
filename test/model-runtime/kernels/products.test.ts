import assert from "node:assert/strict";
import fc from "fast-check";
import {
  filledUp,
  OUTPUTS_TOGETHER,
  PAGE_BYTES,
  packFloats,
  packIntegers,
} from "../../../model-runtime/kernels/products";
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

  it("returns NaN for a row that holds NaN, and infinity for one that holds infinity", () => {
    const x = new Float32Array(64).map((_, i) => i - 32);
    for (const [value, expected] of [
      [Number.NaN, Number.NaN],
      [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY],
    ])
      for (const at of [0, 17, 63]) {
        const row = x.slice();
        row[at] = value;
        assert.equal(quantized(row, 1 / 127).largest, expected);
      }
  });

  it("makes some numbers of a row of zeros", () => {
    const { integers, largest } = quantized(new Float32Array(32), 1 / 127);
    assert.equal(largest, 0);
    assert.ok(integers.every((value) => Math.abs(value) <= 127));
  });
});

interface IntegerProduct {
  /** Whole numbers [R, I], and the largest magnitude [R] of what they were. */
  x: Int16Array;
  largest: Float32Array;
  /** [O, I], and scales [O]. */
  weights: Int8Array;
  scales: Float32Array;
}

/** Products [R, O] by the job. */
function multiply({ x, largest, weights, scales }: IntegerProduct, inputs: number, groupsOfPart = 1): Float32Array[] {
  const memory = RowMemory.create()!;
  const [outputs, rows] = [weights.length / inputs, largest.length];
  const { packed, streamBytes } = packIntegers(weights, inputs);
  const factors = new Float32Array(filledUp(outputs));
  factors.set(scales);
  // More than the outputs of a row lies between rows, and stays as it is.
  const out = memory.allocateRows(rows, filledUp(outputs) + 4);
  for (let row = 0; row < rows; row++) memory.row(out, row, filledUp(outputs) + 4).fill(7);
  const allGroups = filledUp(outputs) / OUTPUTS_TOGETHER;
  const job = memory.job("multiplyIntegers", {
    integers: memory.place(new Int8Array(x.buffer)),
    largest: memory.place(largest),
    rows,
    weights: memory.place(packed, PAGE_BYTES),
    streamBytes,
    scales: memory.place(factors),
    out: out.at,
    outBytes: out.bytes,
    inputs,
    groups: groupsOfPart,
    allGroups,
  });
  job.run(Math.ceil(allGroups / groupsOfPart));
  return Array.from(largest, (_, row) => {
    const found = memory.row(out, row, filledUp(outputs) + 4).slice();
    assert.deepEqual([...found.subarray(filledUp(outputs))], [7, 7, 7, 7]);
    return found.slice(0, outputs);
  });
}

describe("the product of rows and int8 rows", () => {
  it("sums whole products exactly, then scales them", () => {
    const shapes = fc.record({
      inputs: width,
      outputs: fc.integer({ min: 1, max: 40 }),
      rows: fc.integer({ min: 1, max: 4 }),
      groupsOfPart: fc.integer({ min: 1, max: 4 }),
      seed: fc.integer(),
    });
    fc.assert(
      fc.property(shapes, ({ inputs, outputs, rows, groupsOfPart, seed }) => {
        const number = numbers(seed);
        const x = Int16Array.from({ length: rows * inputs }, () => number(127));
        const weights = Int8Array.from({ length: inputs * outputs }, () => number(127));
        const scales = Float32Array.from({ length: outputs }, () => number(100) / 64);
        const largest = Float32Array.from({ length: rows }, (_, row) => 0.7 * (row + 1));
        const found = multiply({ x, largest, weights, scales }, inputs, groupsOfPart);
        found.forEach((products, row) => {
          for (let output = 0; output < outputs; output++) {
            let sum = 0;
            for (let i = 0; i < inputs; i++) sum += x[row * inputs + i] * weights[output * inputs + i];
            const expected = Math.fround(Math.fround(sum * scales[output]) * largest[row]);
            assert.ok(products[output] === expected, `row ${row}, output ${output}: ${products[output]}, ${expected}`);
          }
        });
      }),
    );
  });

  it("holds the largest sums", () => {
    const inputs = 4096;
    const x = new Int16Array(inputs).fill(127);
    const weights = new Int8Array(4 * inputs).fill(-127);
    const ones = new Float32Array(4).fill(1);
    const [found] = multiply({ x, largest: Float32Array.of(1), weights, scales: ones }, inputs);
    assert.deepEqual([...found], new Array(4).fill(-127 * 127 * inputs));
  });

  it("gives zeros and no numbers as they come", () => {
    const inputs = 16;
    const x = new Int16Array(3 * inputs).fill(1);
    const weights = Int8Array.from({ length: 2 * inputs }, (_, i) => (i < inputs ? 1 : -1));
    const scales = Float32Array.of(1, 1);
    const largest = Float32Array.of(0, Number.POSITIVE_INFINITY, Number.NaN);
    const [zeros, infinite, none] = multiply({ x, largest, weights, scales }, inputs);
    assert.ok(zeros.every((value) => value === 0));
    assert.deepEqual([...infinite], [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]);
    assert.deepEqual([...none], [Number.NaN, Number.NaN]);
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

describe("packIntegers", () => {
  it("lays every fourth row in a stream that begins at a page", () => {
    fc.assert(
      fc.property(width, fc.integer({ min: 1, max: 90 }), (inputs, outputs) => {
        const rows = Int8Array.from({ length: outputs * inputs }, (_, i) => i % 251);
        const { packed, streamBytes } = packIntegers(rows, inputs);
        assert.equal(streamBytes % PAGE_BYTES, 0);
        assert.equal(packed.length, 4 * streamBytes);
        const expected = new Int8Array(packed.length);
        for (let output = 0; output < outputs; output++)
          expected.set(
            rows.subarray(output * inputs, (output + 1) * inputs),
            (output % 4) * streamBytes + Math.floor(output / 4) * inputs,
          );
        assert.deepEqual(packed, expected);
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
