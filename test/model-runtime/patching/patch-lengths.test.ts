import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { BYTE_OFFSET, encode } from "../../../model-runtime/ids";
import { meanPatchLength, patchLengths, patchStarts } from "../../../model-runtime/patching/patch-lengths";
import { createPatchRule } from "../../../model-runtime/patching/patcher-rule";
import { anyDocument, anyPatching, patching } from "./patching-samples";

interface PatchingVector {
  mode: "entropy" | "space" | "byte" | "bpe";
  text: string;
  tokens: number[];
  lengths: number[];
  entropies?: number[];
  threshold?: number;
  threshold_add?: number;
  monotonicity?: boolean;
  max_patch_length?: number;
}

interface LogitsCase {
  name: string;
  tokens: number[];
  entropies: number[];
  patch_lengths_with_next: number[];
  override?: { max_patch_length: number };
}

function golden(name: string): { cases: LogitsCase[]; patching: PatchingVector[] } {
  return JSON.parse(readFileSync(join(__dirname, "../../golden", name, "golden.json"), "utf8"));
}

function thresholdOf(name: string): number {
  const file = join(__dirname, "../../golden", name, "config.json");
  return JSON.parse(readFileSync(file, "utf8")).patching_threshold;
}

describe("patch lengths", () => {
  const vectors = golden("k2").patching;

  it("has all of Meta's vectors", () => assert.equal(vectors.length, 24));

  for (const vector of vectors) {
    const { mode, text, tokens, lengths, entropies = null } = vector;
    const settings = ["threshold", "threshold_add", "monotonicity", "max_patch_length"] as const;
    const named = settings.filter((key) => key in vector).map((key) => `${key} ${vector[key]}`);
    it(`equal Meta's: ${[text, mode, ...named].join(", ")}`, () => {
      const config = patching({
        mode,
        threshold: vector.threshold ?? 0,
        thresholdAdd: vector.threshold_add ?? null,
        monotonic: vector.monotonicity ?? false,
        maxPatchLength: vector.max_patch_length ?? null,
      });
      assert.deepEqual(patchLengths(patchStarts(tokens, entropies, config), tokens.length), lengths);
    });
  }

  for (const name of ["k2", "k4"]) {
    it(`equal those of both reference models on ${name}`, () => {
      for (const { tokens, entropies, override, patch_lengths_with_next } of golden(name).cases) {
        const config = patching({
          threshold: thresholdOf(name),
          maxPatchLength: override?.max_patch_length ?? null,
        });
        const lengths = patchLengths(patchStarts(tokens, entropies, config), tokens.length);
        assert.deepEqual(lengths, patch_lengths_with_next);
      }
    });
  }

  it("cut the worked example as it was published (blt-spec section 4.6)", () => {
    const expected =
      "<|D|a|e|n|erys_Targaryen_|is_|in_|G|a|me_|of_Thrones,_|a|_|f|a|n|tasy_|epic_|b|y_|G|eorge_R.R._Martin.>";
    const texts = expected.split("|");
    const ids = encode(Buffer.from(texts.join("").slice(1, -1).replaceAll("_", " ")), { eos: true });
    assert.equal(ids.length, 81);
    // High where the next byte is published to start a patch, low elsewhere; after BOS the published 3.395.
    const entropies = new Float32Array(ids.length).fill(1.3354);
    entropies[0] = 3.395;
    let end = 1;
    for (const text of texts.slice(1, -1)) entropies[(end += text.length) - 1] = 1.3355;
    const cut = patchStarts(ids, entropies, patching({ threshold: 1.335442066192627 }));
    const shown = Array.from(ids, (id) => (id < BYTE_OFFSET ? "_<>"[id] : String.fromCharCode(id - BYTE_OFFSET)));
    const patches = cut.starts.map((start, p) =>
      shown
        .slice(start, cut.starts[p + 1])
        .join("")
        .replaceAll(" ", "_"),
    );
    assert.deepEqual(patches, texts);
    assert.equal(cut.nextStarts, false);
  });

  it("are what the rule says id by id, and sum to n + 1", () => {
    fc.assert(
      fc.property(anyDocument, anyPatching, ({ ids, entropies }, config) => {
        const rule = createPatchRule(config);
        const lengths = [1];
        for (let i = 0; i < ids.length; i++) {
          if (rule.step(ids[i], entropies[i])) lengths.push(1);
          else lengths[lengths.length - 1]++;
        }
        const cut = patchStarts(ids, entropies, config);
        assert.deepEqual(patchLengths(cut, ids.length), lengths);
        assert.equal(
          lengths.reduce((sum, length) => sum + length),
          ids.length + 1,
        );
        assert.equal(cut.nextStarts, lengths[lengths.length - 1] === 1);
      }),
    );
  });

  const edges: [string, number[], number[]][] = [
    ["no id", [], [1]],
    ["BOS alone", [9], [1, 1]],
    ["one byte, next starts", [0, 9], [1, 1, 1]],
    ["one byte, next does not", [9, 0], [1, 2]],
  ];
  for (const [name, entropies, expected] of edges) {
    it(`of ${name}`, () => {
      const ids = [1, 100].slice(0, entropies.length);
      assert.deepEqual(patchLengths(patchStarts(ids, entropies, patching()), ids.length), expected);
    });
  }

  it("are refused when ids and entropies differ in number", () => {
    assert.throws(() => patchStarts([1, 2, 3], [1, 2], patching()), /3 ids but 2 entropies/);
  });
});

describe("the mean patch length", () => {
  it("leaves BOS out, over several documents", () => {
    const mean = meanPatchLength([
      { cut: { starts: [0, 1, 4], nextStarts: false }, n: 9 },
      { cut: { starts: [0], nextStarts: true }, n: 1 },
      { cut: { starts: [0, 1], nextStarts: true }, n: 2 },
    ]);
    assert.equal(mean, 3);
  });
});
