import assert from "node:assert/strict";
import fc from "fast-check";
import type { PatchingConfig } from "../../../model-runtime/checkpoint/config";
import { UserError } from "../../../model-runtime/errors";
import { createRandom } from "../../../model-runtime/generation/random";
import { calibrateThreshold, type EntropyDocument } from "../../../model-runtime/patching/calibrate";
import { meanPatchLength, patchStarts } from "../../../model-runtime/patching/patch-lengths";
import { anyDocument, anyPatching, patching } from "./patching-samples";

function meanAt(documents: EntropyDocument[], config: PatchingConfig, threshold: number): number {
  const cuts = documents.map(({ ids, entropies }) => ({
    cut: patchStarts(ids, entropies, { ...config, threshold }),
    n: ids.length,
  }));
  return meanPatchLength(cuts);
}

/** Lines of letters, with entropies that differ at every byte. */
function randomDocument(seed: number, bytes: number): EntropyDocument {
  const random = createRandom(seed);
  const ids = [1, ...Array.from({ length: bytes }, () => (random() < 0.03 ? 14 : 101 + Math.floor(26 * random())))];
  return { ids, entropies: Float32Array.from(ids, () => -1.2 * Math.log(random())) };
}

const settings: [string, Partial<PatchingConfig>][] = [
  ["threshold", {}],
  ["monotonic", { monotonic: true }],
  ["second threshold", { thresholdAdd: -0.5 }],
  ["newline reset", { newlineReset: true }],
  ["monotonic, newline reset, longest 16", { monotonic: true, newlineReset: true, maxPatchLength: 16 }],
  ["longest 8", { maxPatchLength: 8 }],
  ["shortest 3, longest 12", { minPatchLength: 3, maxPatchLength: 12 }],
];

describe("calibrateThreshold", () => {
  const documents = [randomDocument(1, 3000), randomDocument(2, 5000)];

  for (const [name, overrides] of settings) {
    it(`reaches a mean patch length of 4.5: ${name}`, () => {
      const config = patching(overrides);
      const result = calibrateThreshold(documents, config, 4.5);
      assert.ok(Math.abs(result.meanPatchLength - 4.5) < 0.02, `${result.meanPatchLength}`);
      assert.equal(meanAt(documents, config, result.threshold), result.meanPatchLength);
      assert.equal(Math.fround(result.threshold), result.threshold);
    });
  }

  it("comes as close as any threshold can", () => {
    // Data in quarter nats: odd eighths separate all values.
    const thresholds = Array.from({ length: 100 }, (_, i) => (2 * i - 99) / 8);
    fc.assert(
      fc.property(
        fc.array(anyDocument, { minLength: 1, maxLength: 3 }),
        anyPatching,
        fc.double({ min: 0, max: 1, noNaN: true }),
        (samples, anySettings, fraction) => {
          const config: PatchingConfig = { ...anySettings, mode: "entropy", minPatchLength: 1 };
          const means = thresholds.map((threshold) => meanAt(samples, config, threshold));
          // Somewhere a threshold must decide.
          fc.pre(means[0] < means[means.length - 1]);
          const wanted = means[0] + fraction * (means[means.length - 1] - means[0]);
          fc.pre(wanted <= means[means.length - 1]);
          const { meanPatchLength: reached } = calibrateThreshold(samples, config, wanted);
          const nearest = Math.min(...means.map((mean) => Math.abs(mean - wanted)));
          assert.equal(Math.abs(reached - wanted), nearest);
        },
      ),
      { numRuns: 300 },
    );
  });

  it("lies between the values it separates", () => {
    const { threshold } = calibrateThreshold(
      [{ ids: [1, 100, 101, 102, 103], entropies: [0, 1, 3, 1, 1] }],
      patching(),
      2,
    );
    assert.equal(threshold, 2);
  });

  const refused: [string, Partial<PatchingConfig>, number, RegExp][] = [
    ["above the longest length", { maxPatchLength: 8 }, 9, /mean patch length of 9 bytes.*from 1 to 8\./],
    ["below one byte", {}, 0.5, /from 1 to 4000\./],
    ["that is no number", {}, Number.NaN, /from 1 to/],
  ];
  for (const [name, overrides, wanted, message] of refused) {
    it(`names the reachable range for a length ${name}`, () => {
      assert.throws(
        () => calibrateThreshold(documents, patching(overrides), wanted),
        (error) => error instanceof UserError && message.test(error.message),
      );
    });
  }

  it("says so when there is only one length", () => {
    const config = patching({ newlineReset: true, maxPatchLength: 1 });
    assert.throws(() => calibrateThreshold(documents, config, 4), /it can be about 1\.00 only/);
  });

  it("refuses a mode without threshold, and files without text", () => {
    assert.throws(() => calibrateThreshold(documents, patching({ mode: "static" }), 4), /"static" has no threshold/);
    assert.throws(() => calibrateThreshold([{ ids: [1], entropies: [1] }], patching(), 4), UserError);
  });
});
