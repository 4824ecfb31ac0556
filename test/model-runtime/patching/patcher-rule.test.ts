import assert from "node:assert/strict";
import fc from "fast-check";
import type { PatchingConfig } from "../../../model-runtime/checkpoint/config";
import { UserError } from "../../../model-runtime/errors";
import { encode } from "../../../model-runtime/ids";
import { createPatchRule, resetsContext, usesEntropy } from "../../../model-runtime/patching/patcher-rule";
import { anyDocument, anyPatching, patching } from "./patching-samples";

type Document = { ids: number[]; entropies: number[] };

/** Starts, the next position included, as the rule finds them id by id. */
function startsOf({ ids, entropies }: Document, config: PatchingConfig): number[] {
  const rule = createPatchRule(config);
  return [0, ...ids.flatMap((id, i) => (rule.step(id, entropies[i]) ? [i + 1] : []))];
}

/** Starts by the definitions of blt-spec section 4.3: from each start on, the nearest end that is allowed. */
function definedStarts(document: Document, config: PatchingConfig): number[] {
  const n = document.ids.length;
  const { minPatchLength, maxPatchLength } = config;
  const wanted = Array.from({ length: n + 1 }, (_, j) => isStart(j, document, config));
  const starts = [0, 1];
  for (;;) {
    const from = starts[starts.length - 1];
    const natural = wanted.indexOf(true, from + minPatchLength);
    const ends = [natural === -1 ? n + 1 : natural, from + (maxPatchLength ?? n + 1)];
    const end = Math.min(...ends);
    if (end > n) return starts;
    starts.push(end);
  }
}

function isStart(j: number, { ids, entropies }: Document, config: PatchingConfig): boolean {
  const { mode, threshold, thresholdAdd, monotonic, newlineReset, patchSize } = config;
  if (j < 2) return true;
  if (newlineReset && ids[j - 1] === 14) return true;
  const known = !(newlineReset && ids[j - 2] === 14);
  const rise = entropies[j - 1] - entropies[j - 2];
  if (mode === "byte") return true;
  if (mode === "static") return j % patchSize === 0;
  if (mode === "bpe") return ids[j - 1] === 3;
  if (mode === "space") return ids[j - 1] < 4 || (isRaw(ids[j - 1]) && !isRaw(ids[j - 2]));
  if (monotonic) return j === 2 || (known && rise > threshold);
  if (thresholdAdd === null) return entropies[j - 1] > threshold;
  return j === 2 || (j >= 4 && known && entropies[j - 1] > threshold && rise > thresholdAdd);
}

function isRaw(id: number): boolean {
  if (id < 4) return true;
  return id - 4 >= 0x80 ? id - 4 >= 0xc0 : !/[0-9A-Za-z]/.test(String.fromCharCode(id - 4));
}

function checkStarts(text: string, entropies: number[], overrides: Partial<PatchingConfig>, expected: number[]) {
  const ids = Array.from(encode(Buffer.from(text)));
  assert.equal(entropies.length, ids.length);
  assert.deepEqual(startsOf({ ids, entropies }, patching(overrides)), expected);
}

describe("the patching rule", () => {
  it("equals the definition of each mode", () => {
    fc.assert(
      fc.property(anyDocument, anyPatching, (document, config) => {
        assert.deepEqual(startsOf(document, config), definedStarts(document, config));
      }),
      { numRuns: 3000 },
    );
  });

  it("goes on from a snapshot as if nothing had come between", () => {
    fc.assert(
      fc.property(anyDocument, anyDocument, anyPatching, fc.nat(), (document, detour, config, where) => {
        const at = where % document.ids.length;
        const rule = createPatchRule(config);
        const starts = [0];
        for (let i = 0; i < document.ids.length; i++) {
          if (i === at) {
            const state = rule.snapshot();
            for (let k = 0; k < detour.ids.length; k++) rule.step(detour.ids[k], detour.entropies[k]);
            rule.restore(state);
          }
          if (rule.step(document.ids[i], document.entropies[i])) starts.push(i + 1);
        }
        assert.deepEqual(starts, startsOf(document, config));
      }),
      { numRuns: 1000 },
    );
  });

  it("moves to another rule of the same configuration by its state", () => {
    const config = patching({ monotonic: true, threshold: 0.5, maxPatchLength: 3 });
    const first = createPatchRule(config);
    for (const entropy of [1, 1, 1, 1]) first.step(101, entropy);
    const second = createPatchRule(config);
    second.restore(first.snapshot());
    assert.deepEqual(second.snapshot(), { position: 4, openLength: 2, entropy: 1, afterSeparator: false });
    assert.equal(second.step(101, 1), true);
    assert.equal(first.snapshot().position, 4);
  });

  it("is strict, and compares in float32", () => {
    const threshold = 1.335442066192627;
    const above = Math.fround(threshold) + 2 ** -23;
    checkStarts("abc", [9, threshold, above, threshold + 1e-9], { threshold }, [0, 1, 3]);
    // 0.1 is above 0.1 in float32, which must not make it exceed itself.
    checkStarts("ab", [9, Math.fround(0.1), 0.2], { threshold: 0.1 }, [0, 1, 3]);
  });

  it("does not look at the entropy after BOS, and needs none in other modes", () => {
    checkStarts("ab", [Number.NaN, 0, 0], {}, [0, 1]);
    checkStarts("ab cd", Array(6).fill(Number.NaN), { mode: "space" }, [0, 1, 4]);
    assert.equal(usesEntropy(patching({ mode: "space" })), false);
    assert.equal(usesEntropy(patching()), true);
  });

  it("never starts at position 3 with a second threshold, as Meta's code", () => {
    const rising = [0, 2, 4, 6, 8];
    checkStarts("abcd", rising, { threshold: 1, thresholdAdd: 0.5 }, [0, 1, 2, 4, 5]);
  });

  it("gives static patches that begin with one of length 1", () => {
    checkStarts("abcdefgh", Array(9).fill(Number.NaN), { mode: "static", patchSize: 4 }, [0, 1, 4, 8]);
  });

  it("begins a patch after a newline, and takes no rise across it", () => {
    const options = { newlineReset: true, monotonic: true, threshold: 0.5 };
    checkStarts("abc\nde", [0, 0, 0, 0, 0, 3, 4], options, [0, 1, 2, 5, 7]);
    checkStarts("abc\nde", [0, 0, 0, 0, 0, 3, 4], { ...options, newlineReset: false }, [0, 1, 2, 6, 7]);
  });

  it("resets the entropy model's context at newlines where the configuration says so", () => {
    assert.equal(resetsContext(patching({ newlineReset: true }), 14), true);
    assert.equal(resetsContext(patching({ newlineReset: true }), 13), false);
    assert.equal(resetsContext(patching(), 14), false);
    assert.equal(resetsContext(patching({ newlineReset: true, mode: "space" }), 14), false);
  });

  const refused: [string, Partial<PatchingConfig>, RegExp][] = [
    ["a threshold that is no number", { threshold: Number.NaN }, /threshold is not a number/],
    ["a second threshold that is no number", { thresholdAdd: Number.NaN }, /threshold_add/],
    ["a stride of 4.5", { mode: "static", patchSize: 4.5 }, /patch_size.*4\.5/],
    ["a longest length of 0", { maxPatchLength: 0 }, /longest patch length.*0/],
    ["a shortest length of 0", { minPatchLength: 0 }, /shortest patch length.*0/],
    [
      "a shortest length above the longest",
      { minPatchLength: 5, maxPatchLength: 4 },
      /\(5\) exceeds the longest \(4\)/,
    ],
  ];
  for (const [name, overrides, message] of refused) {
    it(`refuses ${name}`, () => {
      assert.throws(
        () => createPatchRule(patching(overrides)),
        (error) => error instanceof UserError && message.test(error.message),
      );
    });
  }
});
