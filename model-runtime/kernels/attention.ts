/**
 * Kernels of attention. A key head's keys lie in tiles of 16 positions, [S / 16, D, 16], so that scores of 16
 * positions are summed beside each other, and its values in strips of 16 columns, [D / 16, S, 16]: both are read in the order in
 * which they lie, which processors read ahead. What is read serves several query heads that share the key head.
 *
 * Shapes: Q query heads, D head width, S slots for positions; D and S are multiples of 16. Pointers count bytes.
 */
import { addLanes, exponential, greatestLane } from "./activations";
import { advance, define, f32, f32x4, i32, repeat, v128 } from "./assembler";

/** Positions of a tile of keys. */
export const KEY_TILE = 16;
/** Columns of a strip of values. */
export const VALUE_STRIP = 16;

/** Query heads that one pass over keys or values can serve, most first. */
export const QUERIES_TOGETHER = [3, 2, 1] as const;
type Together = (typeof QUERIES_TOGETHER)[number];

/** `queries` [Q, D] times each of `keys`, plus `mask` [positions] -> `scores`, rows [positions] that lie `scoreBytes` apart. */
function scoresOf(together: Together) {
  return define(
    `attentionScores${together}`,
    {
      queries: "i32",
      keys: "i32",
      mask: "i32",
      scores: "i32",
      scoreBytes: "i32",
      headDim: "i32",
      positions: "i32",
    },
    "none",
    ({ queries, keys, mask, scores, scoreBytes, headDim, positions }, local) => {
      const [position, at, end, to] = [0, 1, 2, 3].map(() => local("i32"));
      const pointers = Array.from({ length: together }, () => local("i32"));
      const sums = pointers.map(() => [0, 1, 2, 3].map(() => local("v128")));
      const channels = pointers.map(() => local("v128"));
      const four = local("v128");
      return [
        end.set(i32.shl(headDim, i32.const(2))),
        repeat(
          position,
          positions,
          KEY_TILE,
          ...sums.flatMap((ofQuery) => ofQuery.map((sum, i) => sum.set(v128.load(mask, 16 * i)))),
          ...pointers.map((pointer, query) => pointer.set(i32.add(queries, i32.mul(end, i32.const(query))))),
          at.set(i32.const(0)),
          repeat(
            at,
            end,
            4,
            ...channels.map((channel, query) => channel.set(v128.loadSplat32(pointers[query]))),
            ...[0, 1, 2, 3].flatMap((i) => [
              four.set(v128.load(keys, 16 * i)),
              ...sums.map((ofQuery, query) => ofQuery[i].set(f32x4.add(ofQuery[i], f32x4.mul(channels[query], four)))),
            ]),
            ...pointers.map((pointer) => advance(pointer, 4)),
            advance(keys, 4 * KEY_TILE),
          ),
          to.set(scores),
          ...sums.flatMap((ofQuery) => [
            ...ofQuery.map((sum, i) => v128.store(to, sum, 16 * i)),
            to.set(i32.add(to, scoreBytes)),
          ]),
          advance(mask, 4 * KEY_TILE),
          advance(scores, 4 * KEY_TILE),
        ),
      ];
    },
  );
}

/** By what `QUERIES_TOGETHER` has at the same place. */
export const attentionScores = QUERIES_TOGETHER.map(scoresOf);

/** `scores` [positions] become e^(score - largest); returns one over their sum. */
export const softmax = define("softmax", { scores: "i32", positions: "i32" }, "f32", ({ scores, positions }, local) => {
  const [pointer, end] = [local("i32"), local("i32")];
  const [largest, sum, x] = [local("v128"), local("v128"), local("v128")];
  return [
    end.set(i32.add(scores, i32.shl(positions, i32.const(2)))),
    pointer.set(scores),
    largest.set(v128.load(scores)),
    repeat(pointer, end, 16, largest.set(f32x4.greater(largest, v128.load(pointer)))),
    ...greatestLane(largest),
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

/**
 * A strip of `values` of the first `positions`, summed with `weights`, rows [positions] `weightBytes` apart, times `factors` [Q] -> `out`,
 * rows [16] `outBytes` apart.
 */
function weightedSumOf(together: Together) {
  return define(
    `weightedSum${together}`,
    {
      weights: "i32",
      weightBytes: "i32",
      values: "i32",
      out: "i32",
      outBytes: "i32",
      positions: "i32",
      factors: "i32",
    },
    "none",
    ({ weights, weightBytes, values, out, outBytes, positions, factors }, local) => {
      const end = local("i32");
      const pointers = Array.from({ length: together }, () => local("i32"));
      const sums = pointers.map(() => [0, 1, 2, 3].map(() => local("v128")));
      const ofPosition = pointers.map(() => local("v128"));
      const four = local("v128");
      return [
        end.set(i32.add(weights, i32.shl(positions, i32.const(2)))),
        ...pointers.map((pointer, query) => pointer.set(i32.add(weights, i32.mul(weightBytes, i32.const(query))))),
        repeat(
          pointers[0],
          end,
          4,
          ...ofPosition.map((weight, query) => weight.set(v128.loadSplat32(pointers[query]))),
          ...[0, 1, 2, 3].flatMap((i) => [
            four.set(v128.load(values, 16 * i)),
            ...sums.map((ofQuery, query) => ofQuery[i].set(f32x4.add(ofQuery[i], f32x4.mul(ofPosition[query], four)))),
          ]),
          ...pointers.slice(1).map((pointer) => advance(pointer, 4)),
          advance(values, 4 * VALUE_STRIP),
        ),
        ...sums.flatMap((ofQuery, query) => [
          ...ofQuery.map((sum, i) => v128.store(out, f32x4.mul(sum, v128.loadSplat32(factors, 4 * query)), 16 * i)),
          out.set(i32.add(out, outBytes)),
        ]),
      ];
    },
  );
}

/** By what `QUERIES_TOGETHER` has at the same place. */
export const weightedSum = QUERIES_TOGETHER.map(weightedSumOf);

/**
 * Rotates pairs of neighbouring values of `heads` heads [D] at `x`: `cos` [D] has each cosine twice, `sin` [D] each sine
 * with a minus and without.
 */
export const rotate = define(
  "rotate",
  { x: "i32", cos: "i32", sin: "i32", headDim: "i32", heads: "i32" },
  "none",
  ({ x, cos, sin, headDim, heads }, local) => {
    const [head, at, end] = [local("i32"), local("i32"), local("i32")];
    const pairs = local("v128");
    const swapped = v128.shuffle(pairs, pairs, [1, 0, 3, 2]);
    return [
      end.set(i32.shl(headDim, i32.const(2))),
      repeat(
        head,
        heads,
        1,
        at.set(i32.const(0)),
        repeat(
          at,
          end,
          16,
          pairs.set(v128.load(x)),
          v128.store(
            x,
            f32x4.add(f32x4.mul(pairs, v128.load(i32.add(cos, at))), f32x4.mul(swapped, v128.load(i32.add(sin, at)))),
          ),
          advance(x, 16),
        ),
      ),
    ];
  },
);

/** Multiplies values [width] by a factor. */
export const scale = define(
  "scale",
  { x: "i32", width: "i32", factor: "f32" },
  "none",
  ({ x, width, factor }, local) => {
    const end = local("i32");
    return [
      end.set(i32.add(x, i32.shl(width, i32.const(2)))),
      repeat(x, end, 16, v128.store(x, f32x4.mul(v128.load(x), f32x4.splat(factor)))),
    ];
  },
);

/** Writes keys and values of `rows` positions, [rows, D] each, at a slot and those behind it: into tiles, and into strips of `slots`. */
export const putRows = define(
  "putRows",
  {
    keys: "i32",
    values: "i32",
    rows: "i32",
    tiles: "i32",
    strips: "i32",
    slot: "i32",
    slots: "i32",
    headDim: "i32",
  },
  "none",
  ({ keys, values, rows, tiles, strips, slot, slots, headDim }, local) => {
    const [row, at, end, toKey, toValue] = [0, 1, 2, 3, 4].map(() => local("i32"));
    const four = local("v128");
    const within = i32.and(slot, i32.const(KEY_TILE - 1));
    return [
      end.set(i32.shl(headDim, i32.const(2))),
      repeat(
        row,
        rows,
        1,
        toKey.set(i32.add(tiles, i32.shl(i32.add(i32.mul(i32.sub(slot, within), headDim), within), i32.const(2)))),
        toValue.set(i32.add(strips, i32.mul(slot, i32.const(4 * VALUE_STRIP)))),
        at.set(i32.const(0)),
        repeat(
          at,
          end,
          4 * VALUE_STRIP,
          ...[0, 1, 2, 3].flatMap((part) => [
            v128.store(toValue, v128.load(values, 16 * part), 16 * part),
            four.set(v128.load(keys, 16 * part)),
            ...[0, 1, 2, 3].map((lane) => v128.storeLane32(toKey, four, lane, 4 * KEY_TILE * (4 * part + lane))),
          ]),
          advance(keys, 4 * VALUE_STRIP),
          advance(values, 4 * VALUE_STRIP),
          advance(toKey, 4 * KEY_TILE * VALUE_STRIP),
          toValue.set(i32.add(toValue, i32.mul(slots, i32.const(4 * VALUE_STRIP)))),
        ),
        slot.set(i32.add(slot, i32.const(1))),
      ),
    ];
  },
);

/** Slots for so many positions, in whole tiles. */
export function slotsFor(positions: number): number {
  return Math.ceil(positions / KEY_TILE) * KEY_TILE;
}
