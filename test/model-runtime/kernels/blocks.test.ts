import assert from "node:assert/strict";
import fc from "fast-check";
import { ACTIVATION_BYTES, BLOCK_INPUTS, packBlocks, packedBlocks } from "../../../model-runtime/kernels/blocks";
import { OUTPUTS_TOGETHER, PAGE_BYTES } from "../../../model-runtime/kernels/products";
import { RowMemory } from "../../../model-runtime/kernels/row-kernels";

const { fround } = Math;

/** Below it, 127 over the largest magnitude of a block is infinite. */
const LEAST_LARGEST = 2 ** -120;

/** A block as the kernels read it. */
interface Block {
  /** What the zero point takes off, of all lanes. */
  taken: number;
  /** As they stand: element 4 l + e is number 8 e + l. */
  numbers: number[];
  scales: number[];
}

/** The blocks that the kernel makes of a row. */
function blocksOf(x: Float32Array): Block[] {
  const memory = RowMemory.create()!;
  const blocks = x.length / BLOCK_INPUTS;
  const [from, to] = [memory.place(x), memory.allocate(blocks * ACTIVATION_BYTES)];
  const after = memory.allocateFloats(4);
  memory.kernels.quantizeBlocks(from, to, x.length);
  assert.deepEqual([...memory.bytes(after, 16)], new Array(16).fill(0));
  return Array.from({ length: blocks }, (_, block) => {
    const { buffer } = memory.bytes(to + block * ACTIVATION_BYTES, ACTIVATION_BYTES).slice();
    return {
      taken: [...new Int32Array(buffer, 0, 4)].reduce((sum, value) => sum + value),
      numbers: [...new Int16Array(buffer, 16, BLOCK_INPUTS)],
      scales: [...new Float32Array(buffer, 80, 4)],
    };
  });
}

/** The nearest whole number, halves to the even one. */
function nearest(value: number): number {
  const down = Math.floor(value);
  const isUp = value - down > 0.5 || (value - down === 0.5 && down % 2 !== 0);
  // Without the sign of a zero.
  return (isUp ? down + 1 : down) + 0;
}

function plainNumbers(x: Float32Array): { numbers: number[]; scale: number } {
  const largest = x.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const inverse = fround(127 / largest);
  return { numbers: [...x].map((value) => nearest(fround(value * inverse))), scale: fround(largest / 127) };
}

function plainBlock(x: Float32Array): Block {
  const { numbers, scale } = plainNumbers(x);
  // The mask of element e leaves a weight 1, 16, 256 and 1 times as large.
  const factors = [256, 16, 1, 256];
  return {
    taken: numbers.reduce((sum, value) => sum - 8 * 256 * value, 0),
    numbers: factors.flatMap((factor, e) => Array.from({ length: 8 }, (_, l) => factor * numbers[4 * l + e])),
    scales: new Array(4).fill(fround(scale / 256)),
  };
}

const block = (value: fc.Arbitrary<number>) => fc.array(value, { minLength: BLOCK_INPUTS, maxLength: BLOCK_INPUTS });
const number = fc.float({ noNaN: true, noDefaultInfinity: true });
const rows = fc
  .array(
    fc.oneof(
      block(number),
      block(fc.float({ noNaN: true, min: -8, max: 8 })),
      // Halves, where the largest magnitude is 127.
      block(fc.integer({ min: -253, max: 253 }).map((halves) => halves / 2)).map((values) => [...values.slice(1), 127]),
      // Few numbers other than zero.
      block(fc.oneof({ weight: 15, arbitrary: fc.constantFrom(0, -0) }, number)),
    ),
    { minLength: 1, maxLength: 5 },
  )
  .map((blocks) => Float32Array.from(blocks.flat()));

describe("quantizeBlocks", () => {
  it("is what a plain computation gives, bit for bit", () => {
    fc.assert(
      fc.property(rows, (x) => {
        blocksOf(x).forEach((found, i) => {
          const values = x.subarray(i * BLOCK_INPUTS, (i + 1) * BLOCK_INPUTS);
          if (values.every((value) => Math.abs(value) < LEAST_LARGEST)) return;
          assert.deepEqual(found, plainBlock(values));
        });
      }),
      { numRuns: 300 },
    );
  });

  it("rounds halves to the even number", () => {
    const x = new Float32Array(BLOCK_INPUTS);
    x.set([127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5, -126.5, 125.5]);
    const { numbers } = blocksOf(x)[0];
    const inOrder = Array.from({ length: 10 }, (_, i) => numbers[8 * (i % 4) + (i >> 2)] / [256, 16, 1, 256][i % 4]);
    assert.deepEqual(
      inOrder.map((value) => value + 0),
      [127, 0, 2, 2, 0, -2, -2, 126, -126, 126],
    );
  });

  it("is the same for the largest numbers, and for small ones beside one that is not", () => {
    for (const list of [
      [3.4028234663852886e38, -3.4028234663852886e38, 1e38, 1],
      [2 ** -149, 1e-40, -(2 ** -126), 2 ** -119],
      [-(2 ** -119), 2 ** -120],
      [0, 0, 0, 1e-30],
    ]) {
      const x = new Float32Array(BLOCK_INPUTS);
      x.set(list, 11);
      assert.deepEqual(blocksOf(x), [plainBlock(x)]);
    }
  });

  it("gives zeros a scale of zero", () => {
    for (const zero of [0, -0]) {
      const { scales, numbers } = blocksOf(new Float32Array(BLOCK_INPUTS).fill(zero))[0];
      assert.deepEqual(scales, [0, 0, 0, 0]);
      assert.ok(numbers.every(Number.isInteger));
    }
  });
});

/** 4-bit numbers [O, B, 16 bytes] and scales [O, B] of one matrix. */
interface Matrix {
  outputs: number;
  numbers: Uint8Array;
  scales: Float32Array;
}

/** Weight [output, input] without its scale. */
function weightOf({ numbers }: Matrix, inputs: number, output: number, input: number): number {
  const byte = numbers[(output * inputs + input) >> 1];
  return (input % 2 === 0 ? byte & 15 : byte >> 4) - 8;
}

/** Products of rows [R, I] with joined matrices, by the job. */
function multiply(x: Float32Array, inputs: number, matrices: readonly Matrix[], groupsOfPart = 1): Float32Array[] {
  const memory = RowMemory.create()!;
  const blocks = inputs / BLOCK_INPUTS;
  const rows = x.length / inputs;
  const outputs = matrices.reduce((sum, matrix) => sum + matrix.outputs, 0);
  const packed = packedBlocks(outputs, inputs);
  const weights = memory.allocate(packed.byteLength, PAGE_BYTES);
  const from = memory.place(x);
  const quantized = memory.allocate(rows * blocks * ACTIVATION_BYTES);
  // More than the outputs of a row lies between rows, and stays as it is.
  const out = memory.allocateRows(rows, outputs + 4);
  for (let row = 0; row < rows; row++) memory.row(out, row, outputs + 4).fill(7);
  const end = memory.allocateFloats(4);
  let first = 0;
  for (const { numbers, scales, outputs } of matrices) {
    packBlocks(memory.bytes(weights, packed.byteLength), packed, first, numbers, scales, blocks);
    first += outputs;
  }
  for (let row = 0; row < rows; row++)
    memory.kernels.quantizeBlocks(from + 4 * row * inputs, quantized + row * blocks * ACTIVATION_BYTES, inputs);
  const groups = outputs / OUTPUTS_TOGETHER;
  const job = memory.job("multiplyBlocks", {
    x: quantized,
    rows,
    weights,
    streamBytes: packed.streamBytes,
    scales: weights + packed.scalesAt,
    out: out.at,
    outBytes: out.bytes,
    blocks,
    groups: groupsOfPart,
    allGroups: groups,
  });
  job.run(Math.ceil(groups / groupsOfPart));
  for (let row = 0; row < rows; row++)
    assert.deepEqual([...memory.row(out, row, outputs + 4).subarray(outputs)], [7, 7, 7, 7]);
  assert.deepEqual([...memory.bytes(end, 16)], new Array(16).fill(0));
  return Array.from({ length: rows }, (_, row) => memory.row(out, row, outputs).slice());
}

const shapes = fc.record({
  blocks: fc.integer({ min: 1, max: 9 }),
  rows: fc.integer({ min: 1, max: 4 }),
  groups: fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1, maxLength: 3 }),
  groupsOfPart: fc.integer({ min: 1, max: 5 }),
  seed: fc.integer(),
});

function matricesOf(groups: readonly number[], blocks: number, random: () => number, scale: () => number): Matrix[] {
  return groups.map((count) => {
    const outputs = OUTPUTS_TOGETHER * count;
    return {
      outputs,
      numbers: Uint8Array.from({ length: outputs * blocks * 16 }, () => Math.floor(256 * random())),
      scales: Float32Array.from({ length: outputs * blocks }, scale),
    };
  });
}

describe("the product of rows and joined 4-bit blocks", () => {
  it("is exact where all sums are, in every output", () => {
    fc.assert(
      fc.property(shapes, ({ blocks, rows, groups, groupsOfPart, seed }) => {
        const random = numbers(seed);
        const inputs = blocks * BLOCK_INPUTS;
        // Whole numbers with a largest magnitude of 127 in each block are themselves.
        const x = Float32Array.from({ length: rows * inputs }, (_, i) =>
          i % BLOCK_INPUTS === 5 ? -127 : Math.floor(255 * random()) - 127,
        );
        const matrices = matricesOf(groups, blocks, random, () => [1, -1, 2, 0.5, 0, -0.25][Math.floor(6 * random())]);
        multiply(x, inputs, matrices, groupsOfPart).forEach((found, row) => {
          const expected = matrices.flatMap((matrix) =>
            Array.from({ length: matrix.outputs }, (_, output) => {
              let sum = 0;
              for (let i = 0; i < inputs; i++)
                sum +=
                  matrix.scales[output * blocks + Math.floor(i / BLOCK_INPUTS)] *
                  weightOf(matrix, inputs, output, i) *
                  x[row * inputs + i];
              return sum;
            }),
          );
          assert.deepEqual(
            [...found].map((value) => value + 0),
            expected.map((value) => value + 0),
          );
        });
      }),
    );
  });

  it("is within rounding what the whole numbers and scales give", () => {
    fc.assert(
      fc.property(shapes, ({ blocks, rows, groups, groupsOfPart, seed }) => {
        const random = numbers(seed);
        const inputs = blocks * BLOCK_INPUTS;
        const x = Float32Array.from({ length: rows * inputs }, () => (random() - 0.5) * 10 ** (4 * random()));
        const matrices = matricesOf(groups, blocks, random, () => random() - 0.5);
        multiply(x, inputs, matrices, groupsOfPart).forEach((found, row) => {
          let at = 0;
          for (const matrix of matrices)
            for (let output = 0; output < matrix.outputs; output++, at++) {
              let [sum, size] = [0, 0];
              for (let block = 0; block < blocks; block++) {
                const start = row * inputs + block * BLOCK_INPUTS;
                const { numbers, scale } = plainNumbers(x.subarray(start, start + BLOCK_INPUTS));
                const factor = matrix.scales[output * blocks + block] * scale;
                numbers.forEach((value, i) => {
                  const product = value * weightOf(matrix, inputs, output, block * BLOCK_INPUTS + i) * factor;
                  sum += product;
                  size += Math.abs(product);
                });
              }
              assert.ok(Math.abs(found[at] - sum) <= 1e-6 * size, `row ${row}, output ${at}: ${found[at]}, ${sum}`);
            }
        });
      }),
    );
  });

  it("holds the largest sums", () => {
    const blocks = 64;
    const inputs = blocks * BLOCK_INPUTS;
    for (const [byte, weight] of [
      [0x00, -8],
      [0xff, 7],
    ]) {
      const numbers = new Uint8Array(4 * blocks * 16).fill(byte);
      const matrix = { outputs: 4, numbers, scales: new Float32Array(4 * blocks).fill(1) };
      for (const value of [127, -127]) {
        const [found] = multiply(new Float32Array(inputs).fill(value), inputs, [matrix]);
        assert.deepEqual([...found], new Array(4).fill(inputs * value * weight));
      }
    }
  });

  it("reads every weight", () => {
    const [outputs, blocks] = [8, 2];
    const inputs = blocks * BLOCK_INPUTS;
    const x = new Float32Array(inputs).fill(127);
    for (let output = 0; output < outputs; output++)
      for (let input = 0; input < inputs; input++) {
        // All weights but one are zero, which stands as 8.
        const numbers = new Uint8Array(outputs * blocks * 16).fill(0x88);
        numbers[(output * inputs + input) >> 1] = input % 2 === 0 ? 0x8b : 0xb8;
        const scales = new Float32Array(outputs * blocks).fill(1);
        const [found] = multiply(x, inputs, [{ outputs, numbers, scales }]);
        const expected = new Array(outputs).fill(0);
        expected[output] = 3 * 127;
        assert.deepEqual([...found], expected, `weight ${output}, ${input}`);
      }
  });

  it("is nothing where a block is zeros, or so small that its numbers are too large", () => {
    const [blocks, inputs] = [3, 3 * BLOCK_INPUTS];
    const random = numbers(1);
    const [matrix] = matricesOf([1], blocks, random, () => 1);
    const whole = Float32Array.from({ length: inputs }, (_, i) => (i % BLOCK_INPUTS === 0 ? 127 : i % 7));
    for (const value of [0, -0, 2 ** -149, 1e-40, -1e-37]) {
      const x = whole.slice().fill(value, BLOCK_INPUTS, 2 * BLOCK_INPUTS);
      const zeros = whole.slice().fill(0, BLOCK_INPUTS, 2 * BLOCK_INPUTS);
      const expected = Array.from({ length: 4 }, (_, output) =>
        zeros.reduce((sum, each, i) => sum + each * weightOf(matrix, inputs, output, i), 0),
      );
      assert.deepEqual([...multiply(x, inputs, [matrix])[0]], expected, `${value}`);
      const [alone] = multiply(x.fill(value), inputs, [matrix]);
      assert.ok(
        alone.every((each) => (value === 0 ? each === 0 : Math.abs(each) < 1e-30)),
        `${value}: ${alone}`,
      );
    }
  });

  it("is no finite number where an input is none, in any place and only in its row", () => {
    const [blocks, inputs, rows] = [2, 2 * BLOCK_INPUTS, 2];
    const [matrix] = matricesOf([2], blocks, numbers(2), () => 1);
    const clean = Float32Array.from({ length: rows * inputs }, (_, i) => (i % 13) - 6);
    const expected = multiply(clean, inputs, [matrix]);
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])
      for (let place = 0; place < inputs; place++) {
        const x = clean.slice();
        x[place] = value;
        const [first, second] = multiply(x, inputs, [matrix]);
        assert.ok(
          Number.isNaN(value) ? first.every(Number.isNaN) : first.every((each) => !Number.isFinite(each)),
          `${value} at ${place}: ${first}`,
        );
        assert.deepEqual(second, expected[1]);
      }
  });
});

describe("packBlocks", () => {
  it("lays the rows of joined matrices in four streams that begin at pages, with their scales by groups of four", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5 }), shapes, (blocks, { groups, seed }) => {
        const random = numbers(seed);
        const matrices = matricesOf(groups, blocks, random, random);
        const outputs = matrices.reduce((sum, matrix) => sum + matrix.outputs, 0);
        const packed = packedBlocks(outputs, blocks * BLOCK_INPUTS);
        const rowBytes = blocks * 16;
        assert.equal(packed.streamBytes % PAGE_BYTES, 0);
        assert.ok(packed.streamBytes >= (outputs / 4) * rowBytes);
        assert.equal(packed.scalesAt, 4 * packed.streamBytes);
        assert.equal(packed.byteLength, packed.scalesAt + 4 * outputs * blocks);
        // Not at the beginning of a buffer.
        const to = new Uint8Array(new ArrayBuffer(packed.byteLength + 64), 64);
        let first = 0;
        for (const { numbers, scales, outputs } of matrices) {
          packBlocks(to, packed, first, numbers, scales, blocks);
          first += outputs;
        }
        const allNumbers = matrices.flatMap(({ numbers }) => [...numbers]);
        const allScales = matrices.flatMap(({ scales }) => [...scales]);
        const scales = new Float32Array(to.slice(packed.scalesAt).buffer);
        for (let output = 0; output < outputs; output++) {
          const [group, stream] = [Math.floor(output / 4), output % 4];
          const at = stream * packed.streamBytes + group * rowBytes;
          assert.deepEqual(
            [...to.subarray(at, at + rowBytes)],
            allNumbers.slice(output * rowBytes, (output + 1) * rowBytes),
          );
          for (let block = 0; block < blocks; block++)
            assert.equal(scales[4 * (group * blocks + block) + stream], allScales[output * blocks + block]);
        }
      }),
    );
  });
});

/** Numbers from 0 to 1. */
function numbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
