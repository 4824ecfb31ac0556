import assert from "node:assert/strict";
import { UserError } from "../../../model-runtime/errors";
import { createRandom, xoshiro128 } from "../../../model-runtime/generation/random";

describe("random numbers", () => {
  it("are those of the published xoshiro128**", () => {
    const next = xoshiro128(Uint32Array.of(1, 2, 3, 4));
    const expected = [
      11520, 0, 5927040, 70819200, 2031721883, 1637235492, 1287239034, 3734860849, 3729100597, 4258142804,
    ];
    assert.deepEqual(Array.from(expected, next), expected);
  });

  // Computed with the published algorithms in arbitrary-precision integers.
  const seeded: [number, number[]][] = [
    [0, [0.41675133265905573, 0.5870561741002205, 0.2650367332581032]],
    [1, [0.09156953175513294, 0.8881928137485323, 0.43427017709149285]],
    [4294967295, [0.9555830018603452, 0.2682696548492096, 0.8580147783595625]],
  ];
  for (const [seed, expected] of seeded) {
    it(`follow from seed ${seed}`, () => {
      const random = createRandom(seed);
      assert.deepEqual(Array.from(expected, random), expected);
    });
  }

  it("fill [0, 1) evenly", () => {
    const random = createRandom(7);
    const counts = new Array(16).fill(0);
    const draws = 160_000;
    for (let i = 0; i < draws; i++) counts[Math.floor(random() * 16)]++;
    assert.equal(counts.length, 16);
    const expected = draws / 16;
    const chiSquare = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
    // 15 degrees of freedom: 37.7 is exceeded once in a thousand seeds.
    assert.ok(chiSquare < 37.7, `${chiSquare}`);
  });

  for (const seed of [-1, 1.5, Number.NaN, 2 ** 32]) {
    it(`refuse seed ${seed}`, () => assert.throws(() => createRandom(seed), UserError));
  }
});
