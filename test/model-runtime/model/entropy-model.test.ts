import assert from "node:assert/strict";
import fc from "fast-check";
import { BOS, EOS } from "../../../model-runtime/ids";
import { entropyOfLogits } from "../../../model-runtime/model/entropy";
import { entropiesOf, loadPatcher, type Patcher } from "../../../model-runtime/model/entropy-model";
import { goldenCases, goldenCheckpoint, goldenNames, loadGolden } from "../../helpers/golden";

const options = { device: "cpu", threads: 1 } as const;

/** Largest difference; no number may be missing. */
function distance(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  assert.equal(actual.length, expected.length);
  return Array.from(actual).reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i])), 0);
}

describe("loadPatcher", () => {
  for (const name of goldenNames) {
    for (const golden of goldenCases(name)) {
      it(`gives the entropies of ${name} ${golden.name}`, async () => {
        const checkpoint = goldenCheckpoint(name, golden);
        const patcher = await loadPatcher(checkpoint, options);
        const { patching } = checkpoint.config;
        assert.ok(
          distance(await entropiesOf(patcher, Uint16Array.from(golden.tokens), { patching }), golden.entropies) < 1e-4,
        );
        await patcher.release();
      });
    }
  }

  it("gives the entropies of the whole model, whatever comes at a time", async () => {
    for (const semantics of ["meta", "hf"] as const) {
      const window = semantics === "meta" ? { patcher_window: 8 } : {};
      const model = await loadGolden("k2", { semantics, ...window });
      const patcher = await loadPatcher(goldenCheckpoint("k2", { semantics, ...window }), options);
      const id = fc.oneof(fc.integer({ min: 4, max: 259 }), fc.constantFrom(EOS, 14, 36));
      const parts = fc.array(fc.array(id, { maxLength: 150 }), { minLength: 1, maxLength: 5 });
      const property = fc.asyncProperty(parts, fc.boolean(), async ([first, ...rest], newlineReset) => {
        const patching = { ...model.config.patching, newlineReset };
        const sequence = model.createSequence(patching);
        const stream = patcher.begin(patching);
        const entropies: number[] = [];
        for (const part of [[BOS, ...first], ...rest]) {
          await sequence.append(part, { logits: "none" });
          const fork = stream.fork();
          entropies.push(...(await stream.next(part)));
          // The distributions themselves, which have these entropies; the last one is kept.
          const rows = await fork.nextLogits(part);
          assert.equal(rows.length, part.length * 260);
          const ofRows = part.map((_, i) => entropyOfLogits(rows.subarray(i * 260, (i + 1) * 260)));
          assert.ok(distance(ofRows, entropies.slice(-part.length || entropies.length)) < 1e-5);
          if (part.length > 0) assert.deepEqual(fork.logits, rows.slice(-260));
        }
        assert.ok(distance(entropies, sequence.entropies) < 1e-5);
      });
      await fc.assert(property, { numRuns: 15 });
      await patcher.release();
      await model.release();
    }
  });

  describe("of a long text", () => {
    let patcher: Patcher;
    const checkpoint = goldenCheckpoint("k2", { patcher_window: 8 });
    const { patching } = checkpoint.config;
    before(async () => {
      patcher = await loadPatcher(checkpoint, options);
    });
    after(() => patcher.release());

    it("says how far it is, and stops when it is aborted", async () => {
      const ids = new Uint16Array(1000).fill(100);
      const seen: number[] = [];
      const controller = new AbortController();
      const onProgress = (done: number) => {
        seen.push(done);
        if (done > 300) controller.abort(new Error("enough"));
      };
      await assert.rejects(entropiesOf(patcher, ids, { patching, onProgress, signal: controller.signal }), /enough/);
      assert.deepEqual(seen, [128, 256, 384]);
    });

    it("works on two texts at once", async () => {
      const [a, b] = [patcher.begin(patching), patcher.begin(patching)];
      const first = await a.next([BOS, 100, 101]);
      await b.next([BOS, 200]);
      const rest = await a.next([102, 103]);
      const whole = await entropiesOf(patcher, Uint16Array.of(BOS, 100, 101, 102, 103), { patching });
      // Rounding moves entropies by 1e-6; the other text would by far more.
      assert.ok(distance([...first, ...rest], whole) < 1e-5);
    });
  });

  it("needs an entropy model", async () => {
    const checkpoint = goldenCheckpoint("k2", {});
    checkpoint.config.patcher = null;
    await assert.rejects(loadPatcher(checkpoint, options), /holds no entropy model.*--mode.*--entropy-model/);
  });
});
