import assert from "node:assert/strict";
import { scoreText, summarizeScores } from "../../model-runtime/evaluate";
import { logSoftmax } from "../../model-runtime/generation/sampling";
import { encode } from "../../model-runtime/ids";
import type { Blt } from "../../model-runtime/model/blt";
import { loadGolden } from "../helpers/golden";

describe("scoreText", () => {
  let model: Blt;
  before(async () => {
    model = await loadGolden("k2");
  });
  after(() => model.release());

  /** Longer than what is held at a time. */
  const text = Buffer.from("const ß = (語: number) => 語 + 1;\n".repeat(20));

  it("is the negative log-probability of each byte after all before it", async () => {
    const ids = encode(text);
    const sequence = model.createSequence();
    const logits = await sequence.append(ids, { logits: "all" });
    let bits = 0;
    let correct = 0;
    for (let i = 0; i < text.length; i++) {
      const row = logSoftmax(logits.subarray(i * 260, (i + 1) * 260));
      bits -= row[ids[i + 1]] / Math.LN2;
      if (row.indexOf(Math.max(...row)) === ids[i + 1]) correct++;
    }
    const score = await scoreText(model, text);
    assert.ok(Math.abs(score.bits - bits) < 1e-2, `${score.bits} instead of ${bits}`);
    const patches = sequence.patchStarts.filter((start) => start > 0 && start <= text.length).length;
    assert.deepEqual([score.bytes, score.correct, score.patches], [text.length, correct, patches]);
  });

  it("cuts as it is told, says how far it is, and stops when it is aborted", async () => {
    const seen: number[] = [];
    const controller = new AbortController();
    const patching = { ...model.config.patching, mode: "byte" as const };
    const { patches } = await scoreText(model, text, { patching, onProgress: (bytes) => seen.push(bytes) });
    assert.deepEqual([patches, seen], [text.length, [512, text.length]]);
    const options = { signal: controller.signal, onProgress: () => controller.abort(new Error("enough")) };
    await assert.rejects(scoreText(model, text, options), /enough/);
  });

  it("scores nothing in a text without a byte", async () => {
    assert.deepEqual(await scoreText(model, new Uint8Array()), { bytes: 0, bits: 0, correct: 0, patches: 0 });
  });
});

describe("summarizeScores", () => {
  it("weighs texts by their bytes", () => {
    const scores = [
      { bytes: 10, bits: 20, correct: 1, patches: 5 },
      { bytes: 30, bits: 40, correct: 9, patches: 3 },
    ];
    const expected = { bytes: 40, bpb: 1.5, accuracy: 0.25, perplexity: 2 ** 1.5, meanPatchLength: 5 };
    assert.deepEqual(summarizeScores(scores), expected);
  });
});
