import assert from "node:assert/strict";
import fc from "fast-check";
import type { PatchingConfig } from "../../../model-runtime/checkpoint/config";
import { BOS, EOS, VOCABULARY_SIZE } from "../../../model-runtime/ids";
import type { Blt } from "../../../model-runtime/model/blt";
import type { BltSequence } from "../../../model-runtime/model/sequence";
import { cases } from "../../helpers/device";
import { goldenCases, goldenNames, loadGolden } from "../../helpers/golden";

const TOLERANCE = 1e-4;

function assertClose(actual: ArrayLike<number>, expected: ArrayLike<number>, what: string): void {
  assert.equal(actual.length, expected.length, `${what}: length`);
  for (let i = 0; i < expected.length; i++)
    if (!(Math.abs(actual[i] - expected[i]) <= TOLERANCE) && !(Number.isNaN(actual[i]) && Number.isNaN(expected[i])))
      assert.fail(`${what}[${i}]: ${actual[i]} instead of ${expected[i]}`);
}

function patchLengths(sequence: BltSequence): number[] {
  const ends = [...sequence.patchStarts.slice(1), sequence.length + 1];
  return sequence.patchStarts.map((start, i) => ends[i] - start).filter((length) => length > 0);
}

describe("BltSequence against the reference implementations", () => {
  for (const name of goldenNames)
    for (const golden of goldenCases(name))
      it(`${name} ${golden.name}`, async () => {
        const model = await loadGolden(name, golden);
        const sequence = model.createSequence();
        const logits = await sequence.append(golden.tokens, { logits: "all" });
        assertClose(sequence.entropies, golden.entropies, "entropies");
        assert.deepEqual(patchLengths(sequence), golden.patch_lengths_with_next);
        assertClose(logits, golden.logits.flat(), "logits");
        await model.release();
      });
});

/** What a text must equal: a run from scratch over the same ids. */
async function checkAgainstFresh(model: Blt, patching: PatchingConfig, ids: number[], sequence: BltSequence) {
  const fresh = model.createSequence(patching);
  const expected = await fresh.append(ids, { logits: "all" });
  assertClose(sequence.entropies, fresh.entropies, "entropies");
  assert.deepEqual(sequence.patchStarts, fresh.patchStarts);
  return expected;
}

type Step = { append: number[]; logits: "all" | "last" | "none" } | { truncate: number } | { fork: true };

const id = fc.oneof(
  { weight: 20, arbitrary: fc.integer({ min: 4, max: VOCABULARY_SIZE - 1 }) },
  { weight: 20, arbitrary: fc.constantFrom(36, 101, 105, 14) },
  { weight: 1, arbitrary: fc.constant(EOS) },
  { weight: 1, arbitrary: fc.constant(3) },
);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      append: fc.array(id, { minLength: 1, maxLength: 40 }),
      logits: fc.constantFrom("all" as const, "last" as const, "none" as const),
    }),
  },
  { weight: 3, arbitrary: fc.record({ truncate: fc.double({ min: 0, max: 1, noNaN: true }) }) },
  { weight: 1, arbitrary: fc.constant({ fork: true as const }) },
);

const modes: [string, Partial<PatchingConfig>][] = [
  ["entropy", { mode: "entropy" }],
  ["entropy, at most 3 bytes", { mode: "entropy", maxPatchLength: 3 }],
  ["entropy, at least 3 bytes", { mode: "entropy", minPatchLength: 3 }],
  ["monotonic", { mode: "entropy", monotonic: true, threshold: 0.3 }],
  ["threshold_add", { mode: "entropy", thresholdAdd: 0.2 }],
  ["newline reset", { mode: "entropy", newlineReset: true }],
  ["monotonic with newline reset", { mode: "entropy", monotonic: true, threshold: 0.3, newlineReset: true }],
  ["threshold_add, 2 to 5 bytes", { mode: "entropy", thresholdAdd: 0.2, minPatchLength: 2, maxPatchLength: 5 }],
  ["static, at most 3 bytes", { mode: "static", patchSize: 5, maxPatchLength: 3 }],
  ["space", { mode: "space" }],
  ["static", { mode: "static", patchSize: 4 }],
  ["byte", { mode: "byte" }],
  ["bpe", { mode: "bpe" }],
];

describe("BltSequence: appended, truncated and forked texts equal fresh ones", () => {
  for (const semantics of ["meta", "hf"] as const) {
    let model: Blt;
    before(async () => {
      // Windows short enough that caches are compacted and rebuilt within the test's texts.
      const windows = semantics === "meta" ? { patcher_window: 5, local_window: 7 } : {};
      model = await loadGolden("k2", { semantics, ...windows });
    });
    after(() => model.release());
    for (const [title, settings] of modes)
      it(`${semantics}, ${title}`, async () => {
        const patching = { ...model.config.patching, ...settings };
        await fc.assert(
          fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 8 }), async (steps) => {
            let sequence = model.createSequence(patching);
            let ids = [BOS];
            await sequence.append(ids);
            for (const step of steps) {
              if ("fork" in step) {
                const original = sequence;
                sequence = sequence.fork();
                await original.append([77, 78, 79]);
              } else if ("truncate" in step) {
                ids = ids.slice(0, 1 + Math.floor(step.truncate * (ids.length - 1)));
                sequence.truncate(ids.length);
              } else {
                ids = ids.concat(step.append);
                const logits = await sequence.append(step.append, { logits: step.logits });
                const expected = await checkAgainstFresh(model, patching, ids, sequence);
                const rows = { all: step.append.length, last: 1, none: 0 }[step.logits];
                assertClose(logits, expected.subarray(expected.length - rows * VOCABULARY_SIZE), "logits");
              }
            }
          }),
          { numRuns: cases(15), seed: 20261 },
        );
      }).timeout(120000);
  }
});

describe("BltSequence over windows and chunks", () => {
  it("a long text, truncated far back and continued, equals a fresh one", async () => {
    const model = await loadGolden("k2", { semantics: "meta", patcher_window: 16, local_window: 24 });
    const text = Array.from({ length: 1500 }, (_, i) => 4 + ((i * i * 31 + (i >> 3)) % 97));
    const ids = [BOS, ...text];
    const sequence = model.createSequence();
    await sequence.append(ids);
    for (const length of [1499, 1400, 900, 897, 300, 20, 1]) {
      sequence.truncate(length);
      const tail = [90, 91, 14, 36];
      const logits = await sequence.append(tail, { logits: "all" });
      const expected = await checkAgainstFresh(
        model,
        model.config.patching,
        [...ids.slice(0, length), ...tail],
        sequence,
      );
      assertClose(logits, expected.subarray(expected.length - logits.length), `logits after ${length}`);
      sequence.truncate(length);
    }
    await model.release();
  });

  it("an aborted append leaves the text as it was", async () => {
    const model = await loadGolden("k2");
    const sequence = model.createSequence();
    await sequence.append([BOS, 76, 105]);
    const aborted = AbortSignal.abort();
    await assert.rejects(sequence.append([80, 81], { signal: aborted }), { name: "AbortError" });
    assert.equal(sequence.length, 3);
    const logits = await sequence.append([80, 81], { logits: "all" });
    const expected = await checkAgainstFresh(model, model.config.patching, [BOS, 76, 105, 80, 81], sequence);
    assertClose(logits, expected.subarray(3 * VOCABULARY_SIZE), "logits");
    await model.release();
  });
});
