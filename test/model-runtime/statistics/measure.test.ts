import assert from "node:assert/strict";
import { scoreText } from "../../../model-runtime/evaluate";
import { encode } from "../../../model-runtime/ids";
import type { Blt } from "../../../model-runtime/model/blt";
import type { TextModel } from "../../../model-runtime/model/text-state";
import { MixedModel } from "../../../model-runtime/ngram/mixed-model";
import { measureText } from "../../../model-runtime/statistics/measure";
import { loadGolden } from "../../helpers/golden";

describe("measureText", () => {
  const bytes = Buffer.from("for (const ß of 語) {\n\treturn 1;\n}\n".repeat(40));
  let blt: Blt;
  before(async () => {
    blt = await loadGolden("k2");
  });
  after(() => blt.release());

  it("gives the bits that evaluation sums, the patcher's entropies and the text's patches", async () => {
    const measured = await measureText(blt, bytes);
    const score = await scoreText(blt, bytes);
    const sum = measured.bits.reduce((total, each) => total + each, 0);
    assert.ok(Math.abs(sum - score.bits) < 1e-3 * score.bits);
    const sequence = blt.createSequence();
    await sequence.append(encode(bytes), { logits: "none" });
    assert.deepEqual([measured.entropyOf, measured.units], ["patcher", "patches"]);
    assert.ok(measured.entropies.every((entropy, i) => Math.abs(entropy - sequence.entropies[i]) < 1e-4));
    const starts = sequence.patchStarts.map((position) => position - 1);
    assert.deepEqual(
      Array.from(measured.starts),
      starts.filter((at) => at >= 0 && at < bytes.length),
    );
  });

  it("gives the patches of a model's patcher where its latent steps over something else", async () => {
    const model: TextModel = {
      createSequence: () => new MixedModel({ network: null, workspace: null }).createSequence(),
      patcher: blt.patcher,
      patching: blt.patching,
      sharedBytes: 0,
      release: async () => undefined,
    };
    const { entropies, starts, units } = await measureText(model, bytes);
    const whole = await measureText(blt, bytes);
    assert.deepEqual([starts, units], [whole.starts, "patches"]);
    assert.deepEqual(entropies, whole.entropies);
    const without = await measureText({ ...model, patcher: null }, bytes);
    assert.deepEqual([without.entropyOf, without.units], ["model", "pieces"]);
  });

  it("lets other work go first, reports progress and ends when it is aborted", async () => {
    const controller = new AbortController();
    const seen: number[] = [];
    const turns: number[] = [];
    const measuring = measureText(blt, bytes, {
      signal: controller.signal,
      onProgress: (done) => seen.push(done),
      async turn() {
        turns.push(seen.length);
        if (turns.length === 2) controller.abort(new Error("enough"));
      },
    });
    await assert.rejects(measuring, /enough/);
    assert.deepEqual([seen, turns], [[512], [0, 1]]);
  });
});
