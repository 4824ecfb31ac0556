import assert from "node:assert/strict";
import { openLexiconCheckpoint } from "../../model-runtime/checkpoint/open-lexicon";
import { inspectLexicon } from "../../model-runtime/inspect-lexicon";
import { goldenDirectory } from "../helpers/golden";

const plain = () => openLexiconCheckpoint(goldenDirectory("lexicon/plain"));

describe("inspectLexicon", () => {
  it("counts every weight of the file, by part", () => {
    const { parameters, weightBytes } = inspectLexicon(plain(), 4);
    // Width 32: two layers of grouped-query attention, feed-forward 64 and two norms; 88 pieces and the last norm.
    const layer = 32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 64 + 2 * 32;
    const expected = { patcher: 0, lexicon: 89 * 32, latentTransformer: 2 * layer, drafter: 0 };
    assert.deepEqual(parameters, { ...expected, total: 2 * layer + 89 * 32 });
    assert.equal(weightBytes.total, 4 * parameters.total);
    const drafted = inspectLexicon(openLexiconCheckpoint(goldenDirectory("lexicon/drafted")), 4).parameters;
    assert.ok(drafted.drafter > 0);
  });

  it("spreads the cost of a piece over its bytes", () => {
    const { flops } = inspectLexicon(plain(), 3);
    const multiplications = 2 * (32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 64) + 88 * 32;
    assert.deepEqual(flops, {
      perByte: 0,
      perPatch: 2 * multiplications,
      perByteInAll: (2 * multiplications) / 3,
      meanPatchLength: 3,
    });
  });
});
