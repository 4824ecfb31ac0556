import assert from "node:assert/strict";
import fc from "fast-check";
import { countingModel } from "../../../model-runtime/lexicon/byte-model";
import { EOS_SYMBOL } from "../../../model-runtime/lexicon/open-word";
import { bytesOf, hardTexts } from "./lexicon-samples";

describe("countingModel", () => {
  it("blends what followed longer and longer contexts", async () => {
    const [found] = await countingModel().after(bytesOf("abab"), 4, 4);
    // Nothing read yet, then the counts of no context (a 2, b 2), of "b" (a 1), of "ab" (a 1); "bab" is new.
    const start = (256 / 256 + 1e-4) as number;
    const none = (value: number, count: number) => (value * 2) / 6 + count / 6;
    const a = (none(1 / 256, 2) / 2 + 1 / 2) / 2 + 1 / 2;
    const b = none(1 / 256, 2) / 4;
    const sum = (((start * 2) / 6 + 4 / 6) / 2 + 1 / 2) / 2 + 1 / 2;
    assert.ok(Math.abs(found[0x61] - a / sum) < 1e-12);
    assert.ok(Math.abs(found[0x62] - b / sum) < 1e-12);
  });

  it("is a distribution after each beginning, of which later bytes change nothing", async () => {
    await fc.assert(
      fc.asyncProperty(hardTexts, async (text) => {
        const rows = await countingModel().after(text, 0, text.length);
        for (const [length, row] of rows.entries()) {
          assert.ok(Math.abs(row.reduce((sum, each) => sum + each) - 1) < 1e-12);
          assert.ok(row.every((each) => each > 0) && row[EOS_SYMBOL] > 0);
          assert.deepEqual([row], await countingModel().after(text.slice(0, length), length, length));
        }
      }),
      { numRuns: 30 },
    );
  });
});
