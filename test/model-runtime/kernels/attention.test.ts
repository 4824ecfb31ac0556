import assert from "node:assert/strict";
import fc from "fast-check";
import { KEY_TILE, slotsFor, VALUE_STRIP } from "../../../model-runtime/kernels/attention";
import { RowMemory } from "../../../model-runtime/kernels/row-kernels";
import { HIDDEN_SCORE } from "../../../model-runtime/model/kv-cache";

/** Rows N, query heads a key head G, key heads K, head width D, positions P in use of S slots. */
interface Shape {
  rows: number;
  together: number;
  keyHeads: number;
  headDim: number;
  positions: number;
  slots: number;
}

interface Inputs {
  /** [N, K, G, D]. */
  queries: Float32Array;
  /** [K, P, D]. */
  keys: Float32Array;
  values: Float32Array;
  /** [N, P]. */
  mask: Float32Array;
}

/** Attended [N, K, G, D] by the three jobs, positions in stretches of so many. */
function attend(shape: Shape, { queries, keys, values, mask }: Inputs, stretch: number): Float32Array {
  const { rows, together, keyHeads, headDim, positions, slots } = shape;
  const memory = RowMemory.create()!;
  const heads = keyHeads * together;
  const width = heads * headDim;
  const headFloats = slots * headDim;
  const [tiles, strips] = [memory.allocateFloats(keyHeads * headFloats), memory.allocateFloats(keyHeads * headFloats)];
  // What lies in slots that are not in use does not count.
  memory.floats.fill(Number.NaN, tiles / 4, tiles / 4 + keyHeads * headFloats);
  memory.floats.fill(Number.NaN, strips / 4, strips / 4 + keyHeads * headFloats);
  for (let head = 0; head < keyHeads; head++) {
    const of = (all: Float32Array) => all.subarray(head * positions * headDim, (head + 1) * positions * headDim);
    memory.kernels.putRows(
      memory.place(of(keys)),
      memory.place(of(values)),
      positions,
      tiles + 4 * head * headFloats,
      strips + 4 * head * headFloats,
      0,
      slots,
      headDim,
    );
  }
  const masks = memory.allocateRows(rows, slots);
  const from = memory.allocateRows(rows, width + 8);
  for (let row = 0; row < rows; row++) {
    memory.row(masks, row, positions).set(mask.subarray(row * positions, (row + 1) * positions));
    memory.row(from, row, width).set(queries.subarray(row * width, (row + 1) * width));
  }
  // More than a row's outputs lies between rows, and stays as it is.
  const out = memory.allocateRows(rows, width + 4);
  for (let row = 0; row < rows; row++) memory.row(out, row, width + 4).fill(7);
  const shared = {
    scores: memory.allocateFloats(rows * heads * slots),
    scoreBytes: 4 * slots,
    factors: memory.allocateFloats(rows * heads),
    headBytes: 4 * headFloats,
    keyHeads,
    together,
    headDim,
    positions,
  };
  const stretches = Math.ceil(positions / stretch);
  const asked = { queries: from.at, queryBytes: from.bytes, keys: tiles, mask: masks.at, stretches, stretch };
  memory.job("score", { ...shared, ...asked }).run(rows * keyHeads * stretches);
  memory.job("soften", shared).run(rows * heads);
  const stripCount = headDim / VALUE_STRIP;
  const given = { values: strips, out: out.at, outBytes: out.bytes, slots, strips: stripCount };
  memory.job("sum", { ...shared, ...given }).run(rows * keyHeads * stripCount);
  const found = new Float32Array(rows * width);
  for (let row = 0; row < rows; row++) {
    found.set(memory.row(out, row, width), row * width);
    assert.deepEqual([...memory.row(out, row, width + 4).subarray(width)], [7, 7, 7, 7]);
  }
  return found;
}

/** The same in float64. */
function plainAttention({ rows, together, keyHeads, headDim, positions }: Shape, inputs: Inputs): number[] {
  const { queries, keys, values, mask } = inputs;
  const found: number[] = [];
  for (let row = 0; row < rows; row++)
    for (let head = 0; head < keyHeads * together; head++) {
      const query = queries.subarray((row * keyHeads * together + head) * headDim).subarray(0, headDim);
      const first = Math.floor(head / together) * positions;
      const scores = Array.from(
        { length: positions },
        (_, position) => dot(query, keys.subarray((first + position) * headDim)) + mask[row * positions + position],
      );
      const largest = Math.max(...scores);
      const weights = scores.map((score) => Math.exp(score - largest));
      const sum = weights.reduce((a, b) => a + b);
      for (let d = 0; d < headDim; d++)
        found.push(
          weights.reduce((a, weight, position) => a + weight * values[(first + position) * headDim + d], 0) / sum,
        );
    }
  return found;
}

function dot(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, i) => sum + value * b[i], 0);
}

/** Numbers from -size to size. */
function randomFloats(random: () => number, length: number, size: number): Float32Array {
  return Float32Array.from({ length }, () => size * (2 * random() - 1));
}

function randomInputs(shape: Shape, random: () => number, spread = 1): Inputs {
  const { rows, together, keyHeads, headDim, positions } = shape;
  const queries = randomFloats(random, rows * keyHeads * together * headDim, spread);
  const keys = randomFloats(random, keyHeads * positions * headDim, 1);
  const values = randomFloats(random, keyHeads * positions * headDim, 1);
  return { queries, keys, values, mask: new Float32Array(rows * positions) };
}

describe("attention", () => {
  const shapes = fc
    .record({
      rows: fc.integer({ min: 1, max: 3 }),
      together: fc.constantFrom(1, 2, 3, 4, 5, 7),
      keyHeads: fc.integer({ min: 1, max: 3 }),
      headDim: fc.constantFrom(16, 32, 48, 64),
      tiles: fc.integer({ min: 1, max: 9 }),
      spare: fc.integer({ min: 0, max: 2 }),
    })
    .map(({ tiles, spare, ...shape }) => ({
      ...shape,
      positions: tiles * KEY_TILE,
      slots: (tiles + spare) * KEY_TILE,
    }));

  it("is softmax of products of each query with visible keys, times their values", () => {
    const more = fc.record({
      seed: fc.integer(),
      // Far scores leave all the weight with one position.
      spread: fc.constantFrom(0.1, 1, 30),
      stretchTiles: fc.integer({ min: 1, max: 10 }),
    });
    fc.assert(
      fc.property(shapes, more, (shape, { seed, spread, stretchTiles }) => {
        const random = numbers(seed);
        const inputs = randomInputs(shape, random, spread);
        const { rows, positions } = shape;
        for (let row = 0; row < rows; row++) {
          const seen = Math.floor(positions * random());
          for (let position = 0; position < positions; position++)
            if (position !== seen && random() < 0.4) inputs.mask[row * positions + position] = HIDDEN_SCORE;
        }
        const found = attend(shape, inputs, stretchTiles * KEY_TILE);
        plainAttention(shape, inputs).forEach((expected, i) => {
          // Scores in float32 err by their size.
          assert.ok(Math.abs(found[i] - expected) <= 2e-5 * (1 + spread), `${i}: ${found[i]}, ${expected}`);
        });
      }),
    );
  });

  it("gives a query the same bits, whatever others share its pass over keys and values", () => {
    fc.assert(
      fc.property(shapes, fc.integer(), (shape, seed) => {
        const inputs = randomInputs(shape, numbers(seed));
        const { rows, keyHeads, together, headDim, positions } = shape;
        const found = attend(shape, inputs, positions);
        for (let row = 0; row < rows; row++)
          for (let head = 0; head < keyHeads * together; head++) {
            const at = (row * keyHeads * together + head) * headDim;
            const first = Math.floor(head / together) * positions * headDim;
            const alone = attend(
              { ...shape, rows: 1, keyHeads: 1, together: 1 },
              {
                queries: inputs.queries.slice(at, at + headDim),
                keys: inputs.keys.slice(first, first + positions * headDim),
                values: inputs.values.slice(first, first + positions * headDim),
                mask: new Float32Array(positions),
              },
              KEY_TILE,
            );
            assert.deepEqual(alone, found.slice(at, at + headDim));
          }
      }),
      { numRuns: 20 },
    );
  });

  it("gives a hidden position no weight at all", () => {
    for (const together of [1, 2, 3, 5])
      for (const seen of [0, 3, 15, 16, 47]) {
        const shape = { rows: 1, together, keyHeads: 1, headDim: 16, positions: 48, slots: 48 };
        const inputs = randomInputs(shape, numbers(seen));
        inputs.values.fill(1e38).fill(2, 16 * seen, 16 * (seen + 1));
        inputs.mask.fill(HIDDEN_SCORE)[seen] = 0;
        const found = attend(shape, inputs, 16);
        assert.deepEqual([...found], new Array(16 * together).fill(2));
      }
  });

  it("is the mean of all values where every position is hidden", () => {
    const shape = { rows: 1, together: 3, keyHeads: 1, headDim: 16, positions: 32, slots: 32 };
    const inputs = randomInputs(shape, numbers(3));
    inputs.values.forEach((_, i) => {
      inputs.values[i] = Math.floor(i / 16);
    });
    inputs.mask.fill(HIDDEN_SCORE);
    assert.deepEqual([...attend(shape, inputs, 32)], new Array(48).fill(15.5));
  });

  it("has no number where a value in sight is none, in that column only", () => {
    const shape = { rows: 1, together: 2, keyHeads: 1, headDim: 32, positions: 32, slots: 32 };
    const inputs = randomInputs(shape, numbers(4));
    inputs.values[20 * 32 + 17] = Number.NaN;
    const found = attend(shape, inputs, 16);
    found.forEach((value, i) => {
      assert.equal(Number.isNaN(value), i % 32 === 17, `${i}`);
    });
  });
});

describe("rotate", () => {
  it("turns each pair of every head by its own angle", () => {
    const shapes = fc.record({
      heads: fc.integer({ min: 1, max: 5 }),
      headDim: fc.constantFrom(16, 32, 64),
      seed: fc.integer(),
    });
    fc.assert(
      fc.property(shapes, ({ heads, headDim, seed }) => {
        const random = numbers(seed);
        const x = randomFloats(random, heads * headDim, 10);
        const angles = Array.from({ length: headDim / 2 }, () => 7 * random());
        const memory = RowMemory.create()!;
        const at = memory.place(x);
        const after = memory.place(Float32Array.of(1, 2, 3, 4));
        const cos = memory.place(Float32Array.from({ length: headDim }, (_, i) => Math.cos(angles[i >> 1])));
        const sin = memory.place(
          Float32Array.from({ length: headDim }, (_, i) => (i % 2 === 0 ? -1 : 1) * Math.sin(angles[i >> 1])),
        );
        memory.kernels.rotate(at, cos, sin, headDim, heads);
        const found = memory.floats.subarray(at / 4, at / 4 + x.length);
        for (let i = 0; i < x.length; i += 2) {
          const [real, imaginary] = [x[i], x[i + 1]];
          const angle = angles[(i % headDim) / 2];
          const expected = [
            real * Math.cos(angle) - imaginary * Math.sin(angle),
            imaginary * Math.cos(angle) + real * Math.sin(angle),
          ];
          expected.forEach((value, j) => {
            assert.ok(Math.abs(found[i + j] - value) <= 1e-5, `${i + j}: ${found[i + j]}, ${value}`);
          });
        }
        assert.deepEqual([...memory.floats.subarray(after / 4, after / 4 + 4)], [1, 2, 3, 4]);
      }),
    );
  });
});

describe("scale", () => {
  it("multiplies as many values as there are", () => {
    const memory = RowMemory.create()!;
    const x = memory.place(Float32Array.of(1, -2, 0.1, 1e38, 5, 6, 7, 8, 9, 10, 11, 12));
    memory.kernels.scale(x, 8, 0.3);
    const factor = Math.fround(0.3);
    assert.deepEqual(
      [...memory.floats.subarray(x / 4, x / 4 + 12)],
      [
        ...[1, -2, Math.fround(0.1), Math.fround(1e38), 5, 6, 7, 8].map((value) => Math.fround(value * factor)),
        ...[9, 10, 11, 12],
      ],
    );
  });
});

describe("putRows", () => {
  it("writes rows into tiles and strips at any slot, and nothing else", () => {
    const shapes = fc
      .record({ tiles: fc.integer({ min: 1, max: 4 }), headDim: fc.constantFrom(16, 32, 48), seed: fc.integer() })
      .chain((shape) =>
        fc
          .nat({ max: shape.tiles * KEY_TILE - 1 })
          .chain((slot) =>
            fc.integer({ min: 1, max: shape.tiles * KEY_TILE - slot }).map((rows) => ({ ...shape, slot, rows })),
          ),
      );
    fc.assert(
      fc.property(shapes, ({ tiles, headDim, seed, slot, rows }) => {
        const random = numbers(seed);
        const slots = tiles * KEY_TILE;
        const [keys, values] = [1, 2].map(() => randomFloats(random, rows * headDim, 1));
        const before = [1, 2].map(() => randomFloats(random, slots * headDim, 1));
        const memory = RowMemory.create()!;
        const [toTiles, toStrips] = before.map((each) => memory.place(each));
        const [fromKeys, fromValues] = [memory.place(keys), memory.place(values)];
        const last = memory.place(Float32Array.of(1, 2, 3, 4));
        memory.kernels.putRows(fromKeys, fromValues, rows, toTiles, toStrips, slot, slots, headDim);
        const [expectedTiles, expectedStrips] = before;
        for (let row = 0; row < rows; row++)
          for (let d = 0; d < headDim; d++) {
            const at = slot + row;
            const [tile, lane] = [Math.floor(at / KEY_TILE), at % KEY_TILE];
            const [strip, column] = [Math.floor(d / VALUE_STRIP), d % VALUE_STRIP];
            expectedTiles[(tile * headDim + d) * KEY_TILE + lane] = keys[row * headDim + d];
            expectedStrips[(strip * slots + at) * VALUE_STRIP + column] = values[row * headDim + d];
          }
        const found = [toTiles, toStrips].map((at) => memory.floats.slice(at / 4, at / 4 + slots * headDim));
        assert.deepEqual(found, [expectedTiles, expectedStrips]);
        assert.deepEqual([...memory.floats.subarray(last / 4, last / 4 + 4)], [1, 2, 3, 4]);
      }),
    );
  });
});

describe("slotsFor", () => {
  it("is as many whole tiles as positions need", () => {
    for (const [positions, slots] of [
      [0, 0],
      [1, 16],
      [16, 16],
      [17, 32],
      [40.5, 48],
    ])
      assert.equal(slotsFor(positions), slots);
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
