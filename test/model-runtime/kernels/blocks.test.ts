import assert from "node:assert/strict";
import fc from "fast-check";
import { assemble, MOST_PAGES, type WasmFunction } from "../../../model-runtime/kernels/assembler";
import {
  ACTIVATION_BYTES,
  BLOCK_INPUTS,
  blockProduct,
  blockProductOfBytes,
  packBlocks,
  packedBlocks,
  quantizeBlocks,
  quantizeToBytes,
} from "../../../model-runtime/kernels/blocks";
import { jobArguments, jobFunctions } from "../../../model-runtime/kernels/jobs";
import { OUTPUTS_TOGETHER, PAGE_BYTES } from "../../../model-runtime/kernels/products";
import { hasRelaxedVectors } from "./relaxed-vectors";

const { fround } = Math;
const LARGEST_FLOAT = (2 - 2 ** -23) * 2 ** 127;

/** How blocks of activations are laid and multiplied. */
interface Form {
  quantize: WasmFunction;
  multiply: WasmFunction;
  /** How many times as large as it is a product is. */
  times: number;
  /** A block's numbers, from those of a row, as they stand behind its first vector. */
  lay(numbers: readonly number[]): number[];
  /** What stands there, as numbers. */
  read(bytes: SharedArrayBuffer | ArrayBuffer): Int16Array | Int8Array;
}

const ofIntegers: Form = {
  quantize: quantizeBlocks,
  multiply: blockProduct,
  times: 256,
  // Element 4 l + e is number 8 e + l. The mask of element e leaves a weight 1, 16, 256 and 1 times as large.
  lay: (numbers) =>
    [256, 16, 1, 256].flatMap((factor, e) => Array.from({ length: 8 }, (_, l) => factor * numbers[4 * l + e])),
  read: (bytes) => new Int16Array(bytes, 16, BLOCK_INPUTS),
};

const ofBytes: Form = {
  quantize: quantizeToBytes,
  multiply: blockProductOfBytes,
  times: 1,
  lay: (numbers) => [0, 1].flatMap((from) => numbers.filter((_, i) => i % 2 === from)),
  read: (bytes) => new Int8Array(bytes, 16, BLOCK_INPUTS),
};

const forms = [
  ["int16", ofIntegers],
  ["bytes", ofBytes],
] as const;

/** Skips what needs an instruction that the engine has not. */
function needs(form: Form): (this: Mocha.Context) => void {
  return function () {
    if (form === ofBytes && !hasRelaxedVectors()) this.skip();
  };
}

interface Exports {
  quantizeBlocks(x: number, out: number, inputs: number): void;
  multiplyBlocks(values: number, first: number, count: number): void;
}

/** Modules of the kernels of a form and of the job that uses them. */
const modules = new Map<Form, WebAssembly.Module>();

function moduleOf(form: Form): WebAssembly.Module {
  let module = modules.get(form);
  if (module === undefined) {
    const [multiplyBlocks] = jobFunctions((kernel) => (kernel === form.multiply ? 1 : 0), form.multiply);
    module = new WebAssembly.Module(assemble([multiplyBlocks, form.multiply, form.quantize]));
    modules.set(form, module);
  }
  return module;
}

/** The kernels of a form, and a memory. */
class Kernels {
  private readonly memory = new WebAssembly.Memory({ initial: 1, maximum: MOST_PAGES, shared: true });
  readonly run: Exports;
  private used = 0;

  constructor(form: Form) {
    const { exports } = new WebAssembly.Instance(moduleOf(form), { env: { memory: this.memory } });
    this.run = exports as unknown as Exports;
  }

  /** Address of so many bytes, zeros. */
  allocate(bytes: number, alignment = 64): number {
    const at = Math.ceil(this.used / alignment) * alignment;
    this.used = at + bytes;
    const missing = this.used - this.memory.buffer.byteLength;
    if (missing > 0) this.memory.grow(Math.ceil(missing / 2 ** 16));
    return at;
  }

  place(values: Float32Array | Int32Array): number {
    const at = this.allocate(values.byteLength);
    this.bytes(at, values.byteLength).set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    return at;
  }

  bytes(at: number, length: number): Uint8Array<SharedArrayBuffer> {
    return new Uint8Array(this.memory.buffer, at, length);
  }

  floats(at: number, count: number): Float32Array {
    return new Float32Array(this.memory.buffer, at, count);
  }
}

/** A block as the kernels read it. */
interface Block {
  /** What the zero point takes off, of all lanes. */
  taken: number;
  /** As they stand. */
  numbers: number[];
  scales: number[];
}

/** The blocks that the kernel makes of a row. */
function blocksOf(form: Form, x: Float32Array): Block[] {
  const kernels = new Kernels(form);
  const blocks = x.length / BLOCK_INPUTS;
  const [from, to] = [kernels.place(x), kernels.allocate(blocks * ACTIVATION_BYTES)];
  const after = kernels.allocate(16);
  kernels.run.quantizeBlocks(from, to, x.length);
  assert.deepEqual([...kernels.bytes(after, 16)], new Array(16).fill(0));
  return Array.from({ length: blocks }, (_, block) => {
    const { buffer } = kernels.bytes(to + block * ACTIVATION_BYTES, ACTIVATION_BYTES).slice();
    return {
      taken: [...new Int32Array(buffer, 0, 4)].reduce((sum, value) => sum + value),
      numbers: [...form.read(buffer)],
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
  const inverse = Math.min(fround(127 / largest), LARGEST_FLOAT);
  return { numbers: [...x].map((value) => nearest(fround(value * inverse))), scale: fround(largest / 127) };
}

function plainBlock({ times, lay }: Form, x: Float32Array): Block {
  const { numbers, scale } = plainNumbers(x);
  return {
    taken: numbers.reduce((sum, value) => sum - 8 * times * value, 0),
    numbers: lay(numbers),
    scales: new Array(4).fill(fround(scale / times)),
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

for (const [name, form] of forms)
  describe(`blocks of activations (${name})`, () => {
    before(needs(form));

    it("are what a plain computation gives, bit for bit", () => {
      fc.assert(
        fc.property(rows, (x) => {
          const expected = Array.from({ length: x.length / BLOCK_INPUTS }, (_, i) =>
            plainBlock(form, x.subarray(i * BLOCK_INPUTS, (i + 1) * BLOCK_INPUTS)),
          );
          assert.deepEqual(blocksOf(form, x), expected);
        }),
        { numRuns: 300 },
      );
    });

    it("have halves rounded to the even number", () => {
      const x = new Float32Array(BLOCK_INPUTS);
      x.set([127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5, -126.5, 125.5]);
      const expected = new Array(BLOCK_INPUTS).fill(0);
      expected.splice(0, 10, 127, 0, 2, 2, 0, -2, -2, 126, -126, 126);
      assert.deepEqual(blocksOf(form, x)[0].numbers, form.lay(expected));
    });

    it("are the same for the largest numbers, for the smallest, and for small ones beside one that is not", () => {
      for (const list of [
        [LARGEST_FLOAT, -LARGEST_FLOAT, 1e38, 1],
        [2 ** -149, 1e-40, -(2 ** -126), 2 ** -119],
        [-(2 ** -119), 2 ** -120],
        [2 ** -121, -(2 ** -122), 2 ** -149],
        [2 ** -149],
        [0, 0, 0, 1e-30],
      ]) {
        const x = new Float32Array(BLOCK_INPUTS);
        x.set(list, 11);
        assert.deepEqual(blocksOf(form, x), [plainBlock(form, x)]);
      }
    });

    it("are zeros with a scale of zero for zeros", () => {
      for (const zero of [0, -0])
        assert.deepEqual(blocksOf(form, new Float32Array(BLOCK_INPUTS).fill(zero)), [
          { taken: 0, numbers: new Array(BLOCK_INPUTS).fill(0), scales: [0, 0, 0, 0] },
        ]);
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
function multiply(
  form: Form,
  x: Float32Array,
  inputs: number,
  matrices: readonly Matrix[],
  groupsOfPart = 1,
): Float32Array[] {
  const kernels = new Kernels(form);
  const blocks = inputs / BLOCK_INPUTS;
  const rows = x.length / inputs;
  const outputs = matrices.reduce((sum, matrix) => sum + matrix.outputs, 0);
  const packed = packedBlocks(outputs, inputs);
  const weights = kernels.allocate(packed.byteLength, PAGE_BYTES);
  const from = kernels.place(x);
  const quantized = kernels.allocate(rows * blocks * ACTIVATION_BYTES);
  // More than the outputs of a row lies between rows, and stays as it is.
  const out = kernels.place(new Float32Array(rows * (outputs + 4)).fill(7));
  const end = kernels.allocate(16);
  let first = 0;
  for (const { numbers, scales, outputs } of matrices) {
    packBlocks(kernels.bytes(weights, packed.byteLength), packed, first, numbers, scales, blocks);
    first += outputs;
  }
  for (let row = 0; row < rows; row++)
    kernels.run.quantizeBlocks(from + 4 * row * inputs, quantized + row * blocks * ACTIVATION_BYTES, inputs);
  const groups = outputs / OUTPUTS_TOGETHER;
  const values = {
    x: quantized,
    rows,
    weights,
    streamBytes: packed.streamBytes,
    scales: weights + packed.scalesAt,
    out,
    outBytes: 4 * (outputs + 4),
    blocks,
    groups: groupsOfPart,
    allGroups: groups,
  };
  const job = kernels.place(Int32Array.from(jobArguments.multiplyBlocks, (name) => values[name]));
  kernels.run.multiplyBlocks(job, 0, Math.ceil(groups / groupsOfPart));
  assert.deepEqual([...kernels.bytes(end, 16)], new Array(16).fill(0));
  return Array.from({ length: rows }, (_, row) => {
    const made = kernels.floats(out + row * values.outBytes, outputs + 4);
    assert.deepEqual([...made.subarray(outputs)], [7, 7, 7, 7]);
    return made.slice(0, outputs);
  });
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

for (const [name, form] of forms)
  describe(`the product of rows and joined 4-bit blocks (${name})`, () => {
    before(needs(form));

    it("is exact where all sums are, in every output", () => {
      fc.assert(
        fc.property(shapes, ({ blocks, rows, groups, groupsOfPart, seed }) => {
          const random = numbers(seed);
          const inputs = blocks * BLOCK_INPUTS;
          // Whole numbers with a largest magnitude of 127 in each block are themselves.
          const x = Float32Array.from({ length: rows * inputs }, (_, i) =>
            i % BLOCK_INPUTS === 5 ? -127 : Math.floor(255 * random()) - 127,
          );
          const matrices = matricesOf(
            groups,
            blocks,
            random,
            () => [1, -1, 2, 0.5, 0, -0.25][Math.floor(6 * random())],
          );
          multiply(form, x, inputs, matrices, groupsOfPart).forEach((found, row) => {
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
          multiply(form, x, inputs, matrices, groupsOfPart).forEach((found, row) => {
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
          const [found] = multiply(form, new Float32Array(inputs).fill(value), inputs, [matrix]);
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
          const [found] = multiply(form, x, inputs, [{ outputs, numbers, scales }]);
          const expected = new Array(outputs).fill(0);
          expected[output] = 3 * 127;
          assert.deepEqual([...found], expected, `weight ${output}, ${input}`);
        }
    });

    it("is next to nothing where a block is zeros, or as small as float32 can hardly tell", () => {
      const [blocks, inputs] = [3, 3 * BLOCK_INPUTS];
      const random = numbers(1);
      const [matrix] = matricesOf([1], blocks, random, () => 1);
      const whole = Float32Array.from({ length: inputs }, (_, i) => (i % BLOCK_INPUTS === 0 ? 127 : i % 7));
      for (const value of [0, -0, 2 ** -149, 1e-40, -(2 ** -121), -1e-36]) {
        const x = whole.slice().fill(value, BLOCK_INPUTS, 2 * BLOCK_INPUTS);
        const zeros = whole.slice().fill(0, BLOCK_INPUTS, 2 * BLOCK_INPUTS);
        const expected = Array.from({ length: 4 }, (_, output) =>
          zeros.reduce((sum, each, i) => sum + each * weightOf(matrix, inputs, output, i), 0),
        );
        assert.deepEqual([...multiply(form, x, inputs, [matrix])[0]], expected, `${value}`);
        const [alone] = multiply(form, x.fill(value), inputs, [matrix]);
        // No more than with the largest weights.
        assert.ok(
          alone.every((each) => Math.abs(each) <= 8 * inputs * Math.abs(value)),
          `${value}: ${alone}`,
        );
      }
    });

    it("is no finite number where an input is none, in any place and only in its row", () => {
      const [blocks, inputs, rows] = [2, 2 * BLOCK_INPUTS, 2];
      const [matrix] = matricesOf([2], blocks, numbers(2), () => 1);
      const clean = Float32Array.from({ length: rows * inputs }, (_, i) => (i % 13) - 6);
      const expected = multiply(form, clean, inputs, [matrix]);
      for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])
        for (let place = 0; place < inputs; place++) {
          const x = clean.slice();
          x[place] = value;
          const [first, second] = multiply(form, x, inputs, [matrix]);
          assert.ok(
            Number.isNaN(value) ? first.every(Number.isNaN) : first.every((each) => !Number.isFinite(each)),
            `${value} at ${place}: ${first}`,
          );
          assert.deepEqual(second, expected[1]);
        }
    });
  });

describe("the two forms of the product", () => {
  before(needs(ofBytes));

  /** Blocks of any numbers up to a largest magnitude, of numbers of similar size, of whole numbers, of extremes and of zeros. */
  const upTo = (largest: number) =>
    fc.oneof(
      block(fc.float({ noNaN: true, min: -largest, max: largest })),
      block(fc.float({ noNaN: true, min: -1, max: 1 }).map((value) => fround(value * largest))),
      block(fc.integer({ min: -1000, max: 1000 }).map((value) => fround((value / 1000) * largest))),
      block(fc.constantFrom(largest, -largest)),
      block(fc.constantFrom(0, -0)),
    );
  const compare = (
    activations: fc.Arbitrary<number[]>,
    scale: fc.Arbitrary<number>,
    check: (ofIntegers: Float32Array, ofBytes: Float32Array, x: Float32Array) => void,
  ) => {
    const product = fc.integer({ min: 1, max: 6 }).chain((blocks) => {
      const lists = <T>(value: fc.Arbitrary<T>, length: number) =>
        fc.array(value, { minLength: length, maxLength: length });
      return fc.record({
        x: lists(activations, blocks).map((list) => Float32Array.from(list.flat())),
        numbers: lists(fc.oneof(fc.nat({ max: 255 }), fc.constantFrom(0x00, 0xff, 0x0f, 0xf0, 0x88)), 64 * blocks),
        scales: lists(scale, 4 * blocks),
      });
    });
    fc.assert(
      fc.property(product, ({ x, numbers, scales }) => {
        const matrix = { outputs: 4, numbers: Uint8Array.from(numbers), scales: Float32Array.from(scales) };
        const [[first], [second]] = [ofIntegers, ofBytes].map((form) => multiply(form, x, x.length, [matrix]));
        check(first, second, x);
      }),
      { numRuns: 300 },
    );
  };

  it("give the same bits for all activations from 2 ** -90 to 2 ** 90 and scales from 2 ** -20 to 2 ** 20, and zeros", () => {
    // Beyond, a 256th of a scale may have lost digits, and 256 times a sum may be infinite.
    const [least, scale] = [2 ** -90, fc.float({ noNaN: true, min: 2 ** -20, max: 2 ** 20 })];
    const activations = fc
      .integer({ min: -90, max: 90 })
      .chain((exponent) => upTo(2 ** exponent))
      .map((values) => {
        const largest = Math.max(...values.map(Math.abs));
        return largest > 0 && largest < least ? [...values.slice(1), least] : values;
      });
    const scales = fc.oneof(
      scale,
      scale.map((value) => -value),
      fc.constantFrom(0, -0, 1),
    );
    compare(activations, scales, (first, second) => {
      assert.ok(first.every(Number.isFinite));
      assert.deepEqual(new Uint32Array(second.buffer), new Uint32Array(first.buffer), `${first}, ${second}`);
    });
  });

  it("differ by next to nothing for smaller activations", () => {
    const activations = fc.integer({ min: -149, max: -90 }).chain((exponent) => upTo(2 ** exponent));
    compare(activations, fc.float({ noNaN: true, min: -1, max: 1 }), (first, second, x) => {
      // A scale is off by 2 ** -150 twice at most, times sums of up to 2 ** 23.
      const most =
        (x.length / BLOCK_INPUTS) * 2 ** -126 + 1e-6 * x.reduce((sum, value) => sum + 8 * Math.abs(value), 0);
      first.forEach((value, i) => {
        assert.ok(Math.abs(value - second[i]) <= most, `${value}, ${second[i]}`);
      });
    });
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
