import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { HashEmbedding, RollingHash } from "../../../model-runtime/model/hash-embedding";
import { goldenDirectory } from "../../helpers/golden";

interface HashCase {
  tokens: number[];
  group: number;
  fn: number;
  vocab: number;
  ids: number[];
}

const cases: HashCase[] = JSON.parse(readFileSync(join(goldenDirectory("k2"), "golden.json"), "utf8")).hash;

describe("RollingHash", () => {
  for (const { tokens, group, fn, vocab, ids } of cases)
    it(`golden: function ${fn}, ${group} ids, ${vocab} rows, text of ${tokens.length}`, () => {
      const hash = new RollingHash(fn, group, vocab);
      assert.deepEqual(
        tokens.map((_, position) => hash.at(tokens, position)),
        ids,
      );
    });

  it("equals wrapping 64-bit arithmetic with floor modulo", () => {
    const prime = 5915587277n;
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 259 }), { minLength: 1, maxLength: 12 }),
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 1, max: 2 ** 26 }),
        (ids, size, vocab) => {
          let sum = 0n;
          for (let t = 0; t < size; t++) {
            const index = ids.length - size + t;
            if (index >= 0) sum += BigInt(ids[index]) * prime ** BigInt(t);
          }
          const wrapped = BigInt.asIntN(64, sum);
          const expected = Number(((wrapped % BigInt(vocab)) + BigInt(vocab)) % BigInt(vocab));
          assert.equal(new RollingHash(1, size, vocab).at(ids, ids.length - 1), expected);
        },
      ),
      { numRuns: 2000, seed: 11 },
    );
  });
});

describe("HashEmbedding", () => {
  it("adds one row of each table to the byte's own", () => {
    const bytes = Float32Array.from({ length: 260 * 2 }, (_, i) => i);
    const picked: [number, number][] = [];
    const tables = [0, 1].map((slot) => ({
      addRow(row: number, into: Float32Array, offset: number) {
        picked.push([slot, row]);
        into[offset] += 1000 * (slot + 1);
        into[offset + 1] += row;
      },
    }));
    const config = { groupSizes: [2, 3], vocab: 5, functions: 1 };
    const rows = new HashEmbedding(bytes, tables, config).rows([1, 76, 105], 1, 3);
    const [two, three] = config.groupSizes.map((size) => new RollingHash(0, size, 5));
    const expected = [1, 2].map((p) => [two.at([1, 76, 105], p), three.at([1, 76, 105], p)]);
    assert.deepEqual(
      picked,
      expected.flatMap(([a, b]) => [
        [0, a],
        [1, b],
      ]),
    );
    assert.deepEqual(
      [...rows],
      [76, 105].flatMap((id, i) => [2 * id + 3000, 2 * id + 1 + expected[i][0] + expected[i][1]]),
    );
  });
});
