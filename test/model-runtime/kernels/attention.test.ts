import assert from "node:assert/strict";
import fc from "fast-check";
import { KEY_TILE, VALUE_STRIP } from "../../../model-runtime/kernels/attention";
import { RowMemory } from "../../../model-runtime/kernels/row-kernels";

const HIDDEN = -1e30;

describe("a head's attention", () => {
  it("is softmax of products of the query with visible keys, times their values", () => {
    const shapes = fc.record({
      headDim: fc.constantFrom(16, 32, 48, 64),
      tiles: fc.integer({ min: 1, max: 6 }),
      seed: fc.nat(),
      // Far scores leave all the weight with one position.
      spread: fc.constantFrom(0.1, 1, 30),
    });
    fc.assert(
      fc.property(shapes, ({ headDim, tiles, seed, spread }) => {
        const positions = tiles * KEY_TILE;
        const random = (n: number, size: number) =>
          Float32Array.from({ length: n }, (_, i) => size * Math.sin((i + 1) * (1 + (seed % 97))));
        const query = random(headDim, spread);
        const [keys, values] = [random(positions * headDim, 1), random(positions * headDim + 1, 1).subarray(1)];
        const hides = (position: number) => position !== seed % positions && (position * 7 + seed) % 3 === 0;
        const found = attend(query, keys, values, hides);

        const scores = Array.from({ length: positions }, (_, position) =>
          hides(position) ? Number.NEGATIVE_INFINITY : dot(query, keys.subarray(position * headDim)),
        );
        const largest = Math.max(...scores);
        const weights = scores.map((score) => Math.exp(score - largest));
        const sum = weights.reduce((a, b) => a + b);
        for (let d = 0; d < headDim; d++) {
          const expected =
            weights.reduce((a, weight, position) => a + weight * values[position * headDim + d], 0) / sum;
          // Scores in float32 err by their size.
          assert.ok(Math.abs(found[d] - expected) <= 1e-5 * (1 + spread), `${d}: ${found[d]}, ${expected}`);
        }
      }),
    );
  });

  it("gives a hidden position no weight at all", () => {
    const [headDim, positions] = [16, KEY_TILE];
    const values = new Float32Array(positions * headDim).fill(1e38);
    values.fill(2, 0, headDim);
    const found = attend(new Float32Array(headDim), new Float32Array(positions * headDim), values, (at) => at > 0);
    assert.deepEqual([...found], new Array(headDim).fill(2));
  });
});

/** @param keys [positions, D], as `values` */
function attend(
  query: Float32Array,
  keys: Float32Array,
  values: Float32Array,
  hides: (position: number) => boolean,
): Float32Array {
  const headDim = query.length;
  const positions = keys.length / headDim;
  const [tiles, strips] = [new Float32Array(keys.length), new Float32Array(keys.length)];
  for (let position = 0; position < positions; position++)
    for (let d = 0; d < headDim; d++) {
      const within = position % KEY_TILE;
      tiles[(position - within) * headDim + d * KEY_TILE + within] = keys[position * headDim + d];
      const column = d % VALUE_STRIP;
      strips[(d - column) * positions + position * VALUE_STRIP + column] = values[position * headDim + d];
    }
  const memory = RowMemory.create()!;
  const mask = memory.place(Float32Array.from({ length: positions }, (_, i) => (hides(i) ? HIDDEN : 0)));
  const [scores, out] = [memory.allocateFloats(positions), memory.allocateFloats(headDim)];
  const { kernels } = memory;
  const [from, at, rows] = [memory.place(query), memory.place(tiles), memory.place(strips)];
  kernels.attentionScores(from, at, mask, scores, headDim, positions);
  kernels.weightedSum(scores, rows, out, headDim, positions, positions, kernels.softmax(scores, positions));
  return memory.floats.slice(out / 4, out / 4 + headDim);
}

function dot(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, i) => sum + value * b[i], 0);
}
