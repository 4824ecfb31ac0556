/**
 * Kernels of one query head's attention. A head's keys lie in tiles of 16 positions, [S / 16, D, 16], so that scores of 16
 * positions are summed beside each other, and its values in strips of 16 columns, [D / 16, S, 16]: both are read in the order in
 * which they lie, which processors read ahead.
 *
 * Shapes: D head width, S slots for positions, both multiples of 16. Pointers count bytes.
 */
import { addLanes, exponential, maxLanes } from "./activations";
import { advance, define, f32, f32x4, i32, repeat, v128 } from "./assembler";

/** Positions of a tile of keys. */
export const KEY_TILE = 16;
/** Columns of a strip of values. */
export const VALUE_STRIP = 16;

/** `query` [D] times each of `keys`, plus `mask` [positions] -> `scores` [positions]. */
export const attentionScores = define(
  "attentionScores",
  { query: "i32", keys: "i32", mask: "i32", scores: "i32", headDim: "i32", positions: "i32" },
  "none",
  ({ query, keys, mask, scores, headDim, positions }, local) => {
    const [position, pointer, end] = [local("i32"), local("i32"), local("i32")];
    const sums = [0, 1, 2, 3].map(() => local("v128"));
    const channel = local("v128");
    return [
      end.set(i32.add(query, i32.shl(headDim, i32.const(2)))),
      repeat(
        position,
        positions,
        KEY_TILE,
        ...sums.map((sum, i) => sum.set(v128.load(mask, 16 * i))),
        pointer.set(query),
        repeat(
          pointer,
          end,
          4,
          channel.set(v128.loadSplat32(pointer)),
          ...sums.map((sum, i) => sum.set(f32x4.add(sum, f32x4.mul(channel, v128.load(keys, 16 * i))))),
          advance(keys, 4 * KEY_TILE),
        ),
        ...sums.map((sum, i) => v128.store(scores, sum, 16 * i)),
        advance(mask, 4 * KEY_TILE),
        advance(scores, 4 * KEY_TILE),
      ),
    ];
  },
);

/** `scores` [positions] become e^(score - largest); returns one over their sum. */
export const softmax = define("softmax", { scores: "i32", positions: "i32" }, "f32", ({ scores, positions }, local) => {
  const [pointer, end] = [local("i32"), local("i32")];
  const [largest, sum, x] = [local("v128"), local("v128"), local("v128")];
  return [
    end.set(i32.add(scores, i32.shl(positions, i32.const(2)))),
    pointer.set(scores),
    largest.set(v128.load(scores)),
    repeat(pointer, end, 16, largest.set(f32x4.max(largest, v128.load(pointer)))),
    ...maxLanes(largest),
    repeat(
      scores,
      end,
      16,
      x.set(f32x4.sub(v128.load(scores), largest)),
      ...exponential(x, local),
      v128.store(scores, x),
      sum.set(f32x4.add(sum, x)),
    ),
    ...addLanes(sum),
    f32.div(f32.const(1), f32x4.lane(sum, 0)),
  ];
});

/** `values` of the first `positions` of so many `slots`, summed with `weights` [positions], times `factor` -> `out` [D]. */
export const weightedSum = define(
  "weightedSum",
  { weights: "i32", values: "i32", out: "i32", headDim: "i32", slots: "i32", positions: "i32", factor: "f32" },
  "none",
  ({ weights, values, out, headDim, slots, positions, factor }, local) => {
    const [column, pointer, value, end] = [local("i32"), local("i32"), local("i32"), local("i32")];
    // Two positions at a time, so that one addition need not wait for the one before.
    const sums = [0, 1].map(() => [0, 1, 2, 3].map(() => local("v128")));
    const weight = local("v128");
    const rowBytes = 4 * VALUE_STRIP;
    return [
      end.set(i32.add(weights, i32.shl(positions, i32.const(2)))),
      repeat(
        column,
        headDim,
        VALUE_STRIP,
        ...sums.flat().map((sum) => sum.set(f32x4.const(0))),
        pointer.set(weights),
        value.set(values),
        repeat(
          pointer,
          end,
          8,
          ...sums.flatMap((ofPosition, position) => [
            weight.set(v128.loadSplat32(pointer, 4 * position)),
            ...ofPosition.map((sum, i) =>
              sum.set(f32x4.add(sum, f32x4.mul(weight, v128.load(value, position * rowBytes + 16 * i)))),
            ),
          ]),
          advance(value, 2 * rowBytes),
        ),
        ...sums[0].map((sum, i) => v128.store(out, f32x4.mul(f32x4.add(sum, sums[1][i]), f32x4.splat(factor)), 16 * i)),
        values.set(i32.add(values, i32.shl(slots, i32.const(6)))),
        advance(out, rowBytes),
      ),
    ];
  },
);

/** Writes a key [D] at a slot of tiles [slots / 16, D, 16]. */
export function putKey(
  floats: Float32Array,
  tiles: number,
  slot: number,
  key: Float32Array,
  at: number,
  headDim: number,
): void {
  const within = slot % KEY_TILE;
  const column = tiles / 4 + (slot - within) * headDim + within;
  for (let d = 0; d < headDim; d++) floats[column + d * KEY_TILE] = key[at + d];
}

/** Writes a value [D] at a slot of strips [D / 16, slots, 16]. */
export function putValue(
  floats: Float32Array,
  strips: number,
  slot: number,
  slots: number,
  value: Float32Array,
  at: number,
  headDim: number,
): void {
  let row = strips / 4 + slot * VALUE_STRIP;
  for (let d = 0; d < headDim; d += VALUE_STRIP, row += slots * VALUE_STRIP)
    for (let i = 0; i < VALUE_STRIP; i++) floats[row + i] = value[at + d + i];
}

/** Slots for so many positions, in whole tiles. */
export function slotsFor(positions: number): number {
  return Math.ceil(positions / KEY_TILE) * KEY_TILE;
}
