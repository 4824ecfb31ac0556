/**
 * Kernels that turn 4-bit blocks into int8 rows (`latent-rows.ts`).
 *
 * Shapes: I inputs, B = I / 32 blocks, 16 outputs at a time. Pointers count bytes.
 */
import {
  advance,
  define,
  f32x4,
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
import { BLOCK_BYTES } from "./blocks";

/** Outputs that are turned at a time. */
export const OUTPUTS_TURNED = 16;

/** `numbers` of `count` blocks -> `out` [count] int32: the largest distance from 8 in each. */
export const blockReach = define(
  "blockReach",
  { numbers: "i32", out: "i32", count: "i32" },
  "none",
  ({ numbers, out, count }, local) => {
    const block = local("i32");
    const [pair, largest] = [local("v128"), local("v128")];
    const distance = (value: V128) => i8x16.abs(i8x16.sub(value, i8x16.const(8)));
    // Each round folds one half of the lanes onto the other.
    const fold = [8, 4, 2, 1].map((by) => {
      const lanes = Array.from({ length: 16 }, (_, lane) => (lane + by) % 16);
      return largest.set(i8x16.max(largest, i8x16.shuffle(largest, largest, lanes)));
    });
    return [
      repeat(
        block,
        count,
        1,
        pair.set(v128.load(numbers)),
        largest.set(i8x16.max(distance(lowHalves(pair)), distance(highHalves(pair)))),
        ...fold,
        i32.store(out, i8x16.lane(largest, 0)),
        advance(numbers, BLOCK_BYTES),
        advance(out, 4),
      ),
    ];
  },
);

/**
 * `numbers` of 16 outputs [16, B] blocks -> a column of `out` [I] rows, `outBytes` apart: 16 int8 each, (number - 8) * ratio
 * rounded, `ratios` [16, B].
 * @param scratch address of 512 bytes to work in
 */
export const expandBlocks = define(
  "expandBlocks",
  { numbers: "i32", ratios: "i32", out: "i32", outBytes: "i32", blocks: "i32", scratch: "i32" },
  "none",
  ({ numbers, ratios, out, outBytes, blocks, scratch }, local) => {
    const [block, output, number, ratio, to] = [0, 1, 2, 3, 4].map(() => local("i32"));
    const [pair, factor, table] = [local("v128"), local("v128"), local("v128")];
    const rows = Array.from({ length: OUTPUTS_TURNED }, () => local("v128"));
    const spare = Array.from({ length: OUTPUTS_TURNED }, () => local("v128"));
    const quarter = (first: number) =>
      i32x4.truncate(f32x4.nearest(f32x4.mul(f32x4.lanes([0, 1, 2, 3].map((i) => first + i - 8)), factor)));
    const half = 16 * OUTPUTS_TURNED;
    /** The 16 outputs' bytes at `scratch + from`, turned, to every second row from `to` on. */
    const turned = (from: number): Statement[] => [
      ...rows.map((row, i) => row.set(v128.load(scratch, from + 16 * i))),
      ...transpose(rows, spare),
      ...rows.flatMap((row) => [v128.store(to, row), to.set(i32.add(to, i32.shl(outBytes, i32.const(1))))]),
    ];
    return [
      repeat(
        block,
        blocks,
        1,
        number.set(numbers),
        ratio.set(ratios),
        output.set(scratch),
        repeat(
          output,
          i32.add(scratch, i32.const(half)),
          16,
          factor.set(v128.loadSplat32(ratio)),
          // What each of the sixteen numbers becomes.
          table.set(i8x16.narrow(i16x8.narrow(quarter(0), quarter(4)), i16x8.narrow(quarter(8), quarter(12)))),
          pair.set(v128.load(number)),
          v128.store(output, i8x16.lookUp(table, lowHalves(pair))),
          v128.store(output, i8x16.lookUp(table, highHalves(pair)), half),
          number.set(i32.add(number, i32.mul(blocks, i32.const(BLOCK_BYTES)))),
          ratio.set(i32.add(ratio, i32.shl(blocks, i32.const(2)))),
        ),
        to.set(out),
        ...turned(0),
        to.set(i32.add(out, outBytes)),
        ...turned(half),
        out.set(i32.add(out, i32.shl(outBytes, i32.const(5)))),
        advance(numbers, BLOCK_BYTES),
        advance(ratios, 4),
      ),
    ];
  },
);

/** Elements 0, 2, 4 ... of a block. */
function lowHalves(pair: V128): V128 {
  return v128.and(pair, i8x16.const(15));
}

/** Elements 1, 3, 5 ... */
function highHalves(pair: V128): V128 {
  return v128.and(i16x8.shr(pair, i32.const(4)), i8x16.const(15));
}

/** Turns the 16 x 16 bytes in `rows`: row i gets byte i of each. */
function transpose(rows: readonly Local<"v128">[], spare: readonly Local<"v128">[]): Statement[] {
  const lanes = (first: number) => Array.from({ length: 16 }, (_, i) => first + (i >> 1) + (i & 1 ? 16 : 0));
  const statements: Statement[] = [];
  // After four rounds in which row i meets row i + 8, each byte is where its row's and its own number have changed places.
  for (let round = 0, [from, to] = [rows, spare]; round < 4; round++, [from, to] = [to, from])
    for (let i = 0; i < 8; i++)
      statements.push(
        to[2 * i].set(i8x16.shuffle(from[i], from[i + 8], lanes(0))),
        to[2 * i + 1].set(i8x16.shuffle(from[i], from[i + 8], lanes(8))),
      );
  return statements;
}
