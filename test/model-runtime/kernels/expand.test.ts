import assert from "node:assert/strict";
import fc from "fast-check";
import { BLOCK_INPUTS } from "../../../model-runtime/kernels/blocks";
import { OUTPUTS_TURNED } from "../../../model-runtime/kernels/expand";
import { RowMemory } from "../../../model-runtime/kernels/row-kernels";

const { fround } = Math;
const BLOCK_BYTES = 16;
const SCRATCH_BYTES = 512;

/** Element 2 j is in the lower half of byte j. */
function elementOf(numbers: Uint8Array, element: number): number {
  const byte = numbers[element >> 1];
  return element % 2 === 0 ? byte & 15 : byte >> 4;
}

/** A copy of bytes in a memory. */
function place(memory: RowMemory, bytes: Uint8Array): number {
  return memory.place(new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length));
}

/** Bytes that nothing is to be written to. */
function guard(memory: RowMemory): () => void {
  const bytes = memory.bytes(memory.allocate(64), 64).fill(7);
  return () => assert.deepEqual(bytes, new Uint8Array(64).fill(7));
}

const bytesOf = (count: number) => fc.uint8Array({ minLength: count, maxLength: count });

describe("blockReach", () => {
  const reachesOf = (numbers: Uint8Array) => {
    const memory = RowMemory.create()!;
    const count = numbers.length / BLOCK_BYTES;
    const from = place(memory, numbers);
    const to = memory.place(new Float32Array(count).fill(Number.NaN));
    const check = guard(memory);
    memory.kernels.blockReach(from, to, count);
    check();
    return [...new Int32Array(memory.bytes(to, 4 * count).slice().buffer)];
  };

  it("is the largest distance from 8 in each block", () => {
    // Near 8 too, as nearly all blocks of any numbers have a 0.
    const nearEight = fc.integer({ min: 0, max: 8 }).chain((most) => {
      const element = fc.integer({ min: 8 - most, max: Math.min(8 + most, 15) });
      const byte = fc.tuple(element, element).map(([low, high]) => low + 16 * high);
      return fc.array(byte, { minLength: BLOCK_BYTES, maxLength: BLOCK_BYTES });
    });
    fc.assert(
      fc.property(fc.array(nearEight, { minLength: 1, maxLength: 9 }), (blocks) => {
        const numbers = Uint8Array.from(blocks.flat());
        const expected = blocks.map((_, block) => {
          const elements = Array.from({ length: BLOCK_INPUTS }, (_, i) => elementOf(numbers, block * BLOCK_INPUTS + i));
          return Math.max(...elements.map((element) => Math.abs(element - 8)));
        });
        assert.deepEqual(reachesOf(numbers), expected);
      }),
    );
  });

  it("sees every number of a block, and no other block's", () => {
    for (let place = 0; place < BLOCK_INPUTS; place++)
      for (const element of [0, 5, 9, 15]) {
        const numbers = new Uint8Array(3 * BLOCK_BYTES).fill(0x88);
        numbers[BLOCK_BYTES + (place >> 1)] = place % 2 === 0 ? 0x80 + element : 0x08 + 16 * element;
        assert.deepEqual(reachesOf(numbers), [0, Math.abs(element - 8), 0], `${element} at ${place}`);
      }
  });
});

/** 16 outputs' numbers [16, B] blocks, and ratios [16, B]. */
interface Rows {
  blocks: number;
  numbers: Uint8Array;
  ratios: Float32Array;
}

/** What the kernel writes to rows that are filled with 7, and its place among these. */
function expand({ blocks, numbers, ratios }: Rows, outBytes: number, column: number): Int8Array {
  const memory = RowMemory.create()!;
  const from = place(memory, numbers);
  const factors = memory.place(ratios);
  const length = blocks * BLOCK_INPUTS * outBytes;
  const made = memory.allocate(length);
  const checks = [guard(memory)];
  const scratch = memory.allocate(SCRATCH_BYTES);
  checks.push(guard(memory));
  memory.bytes(made, length).fill(7);
  memory.bytes(scratch, SCRATCH_BYTES).fill(0xaa);
  memory.kernels.expandBlocks(from, factors, made + column, outBytes, blocks, scratch);
  for (const check of checks) check();
  return Int8Array.from(new Int8Array(memory.floats.buffer, made, length));
}

/** The nearest whole number, halves to the even one, that is an int8. */
function nearestByte(value: number): number {
  if (Number.isNaN(value)) return 0;
  const down = Math.floor(value);
  const isUp = value - down > 0.5 || (value - down === 0.5 && down % 2 !== 0);
  return Math.min(Math.max(isUp ? down + 1 : down, -128), 127);
}

function plainExpand({ blocks, numbers, ratios }: Rows, outBytes: number, column: number): Int8Array {
  const inputs = blocks * BLOCK_INPUTS;
  const made = new Int8Array(inputs * outBytes).fill(7);
  for (let output = 0; output < OUTPUTS_TURNED; output++)
    for (let input = 0; input < inputs; input++) {
      const ratio = ratios[output * blocks + Math.floor(input / BLOCK_INPUTS)];
      const number = elementOf(numbers, output * inputs + input) - 8;
      made[input * outBytes + column + output] = nearestByte(fround(number * ratio));
    }
  return made;
}

describe("expandBlocks", () => {
  const rowsWith = (ratio: fc.Arbitrary<number>) =>
    fc.integer({ min: 1, max: 5 }).chain((blocks) => {
      const count = OUTPUTS_TURNED * blocks;
      return fc.record({
        blocks: fc.constant(blocks),
        numbers: bytesOf(count * BLOCK_BYTES),
        ratios: fc.array(ratio, { minLength: count, maxLength: count }).map((list) => Float32Array.from(list)),
      });
    });
  // Rows of several matrices lie beside each other, and these need not be wide by a power of two.
  const widths = fc
    .tuple(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 40 }))
    .map(([column, rest]) => ({ column, outBytes: column + OUTPUTS_TURNED + rest }));

  for (const [title, ratio] of [
    ["ratios of both signs", fc.float({ noNaN: true, min: -16, max: 16 })],
    ["ratios that make halves", fc.integer({ min: -31, max: 31 }).map((quarters) => quarters / 4)],
    ["ratios that saturate", fc.integer({ min: -600, max: 600 }).map((value) => value / 10)],
    ["any ratios, also those that are no finite numbers", fc.float()],
  ] as const)
    it(`is what a plain computation gives, with ${title}`, () => {
      fc.assert(
        fc.property(rowsWith(ratio), widths, (rows, { outBytes, column }) => {
          assert.deepEqual(expand(rows, outBytes, column), plainExpand(rows, outBytes, column));
        }),
      );
    });

  it("rounds halves to the even number, and saturates at both ends", () => {
    const numbers = Uint8Array.from({ length: OUTPUTS_TURNED * BLOCK_BYTES }, (_, i) => {
      const low = (2 * i) % 16;
      return low + 16 * (low + 1);
    });
    // All numbers from 0 to 15, twice, in each output.
    for (const [ratio, expected] of [
      [0.5, [-4, -4, -3, -2, -2, -2, -1, 0, 0, 0, 1, 2, 2, 2, 3, 4]],
      [-0.5, [4, 4, 3, 2, 2, 2, 1, 0, 0, 0, -1, -2, -2, -2, -3, -4]],
      [-17, [127, 119, 102, 85, 68, 51, 34, 17, 0, -17, -34, -51, -68, -85, -102, -119]],
      [20, [-128, -128, -120, -100, -80, -60, -40, -20, 0, 20, 40, 60, 80, 100, 120, 127]],
      [1e30, [...new Array(8).fill(-128), 0, ...new Array(7).fill(127)]],
      [Number.NaN, new Array(16).fill(0)],
    ] as const) {
      const made = expand({ blocks: 1, numbers, ratios: new Float32Array(OUTPUTS_TURNED).fill(ratio) }, 16, 0);
      for (let output = 0; output < OUTPUTS_TURNED; output++)
        assert.deepEqual(
          Array.from({ length: BLOCK_INPUTS }, (_, input) => made[input * 16 + output]),
          [...expected, ...expected],
          `${ratio}, output ${output}`,
        );
    }
  });
});
