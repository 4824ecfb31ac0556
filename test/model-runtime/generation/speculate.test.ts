import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { openLexiconCheckpoint } from "../../../model-runtime/checkpoint/open-lexicon";
import { DraftRecord } from "../../../model-runtime/generation/draft-record";
import type { Drafter } from "../../../model-runtime/generation/drafter";
import { ForesightDrafter } from "../../../model-runtime/generation/foresight-drafter";
import { type GenerateOptions, generate } from "../../../model-runtime/generation/generate";
import { createRandom } from "../../../model-runtime/generation/random";
import { samplingDistribution } from "../../../model-runtime/generation/sampling";
import { createSpeculation, type Speculation } from "../../../model-runtime/generation/speculate";
import { StaleLatentDrafter } from "../../../model-runtime/generation/stale-latent-drafter";
import { BYTE_OFFSET, encode } from "../../../model-runtime/ids";
import { LexiconModel } from "../../../model-runtime/model/lexicon-model";
import { loadModel, openModel } from "../../../model-runtime/model/load-model";
import type { TextModel, TextState } from "../../../model-runtime/model/text-state";
import { CountsDrafter } from "../../../model-runtime/ngram/counts-drafter";
import { MixedModel } from "../../../model-runtime/ngram/mixed-model";
import { learningRates } from "../../../model-runtime/ngram/mixture";
import { loadGolden } from "../../helpers/golden";
import { bytesOf, lexiconFolder } from "../lexicon/lexicon-samples";

const options = { device: "cpu", threads: 1, int8Kernel: "float32" } as const;

/** Proposes what is true up to a byte that is wrong, so that every way a draft can end comes up. */
function oracle(truth: Uint8Array, plan: readonly number[]): Drafter {
  let draft = 0;
  return {
    name: "oracle",
    draft({ text, most }) {
      const right = plan[draft++ % plan.length];
      const from = text.length;
      const bytes = truth.slice(from, from + Math.min(most, right + 3));
      if (right < bytes.length) bytes[right] ^= 1;
      return bytes.length === 0 ? null : { bytes, strength: right % 16 };
    },
  };
}

/** Drafts of so many parts that the model foresees, however unlikely they are. */
function farsighted(plan: readonly number[]): Drafter {
  let draft = 0;
  return {
    name: "farsighted",
    cost: 0.1,
    usualGain: 1000,
    async draft({ sequence, text, most }) {
      let [parts, left] = [plan[draft++ % plan.length] % 6, most];
      const found = await sequence.foresee?.(text[text.length - 1] + BYTE_OFFSET, (_, bytes) => {
        left -= bytes;
        return parts-- > 0 && left >= 0;
      });
      const bytes = Uint8Array.from(found?.flatMap((part) => Array.from(part.bytes)) ?? []);
      return bytes.length === 0 ? null : { bytes, gain: 1, learn: () => undefined };
    },
  };
}

/** A record that takes every draft to be worth reading. */
function bold(): DraftRecord {
  const record = new DraftRecord(24);
  record.worth = (_source, _strength, available) => ({ length: Math.min(24, available), gain: 1 });
  return record;
}

interface Written {
  bytes: number[];
  logProbs: number[];
  end: string;
}

async function write(sequence: TextState, prompt: ArrayLike<number>, how: GenerateOptions): Promise<Written> {
  const bytes: number[] = [];
  const logProbs: number[] = [];
  const all = generate(sequence, prompt, how);
  for (;;) {
    const step = await all.next();
    if (step.done) return { bytes, logProbs, end: step.value };
    bytes.push(step.value.byte);
    logProbs.push(step.value.logProb);
  }
}

/** Everything that can be seen of a continuation is the same with drafts, and so is what the text continues with. */
async function checkSame(model: TextModel, prompt: Uint8Array, how: GenerateOptions, speculation: Speculation) {
  const [plain, drafted] = [model.createSequence(), model.createSequence()];
  const expected = await write(plain, encode(prompt), how);
  const found = await write(drafted, encode(prompt), { ...how, speculation });
  const at = found.bytes.findIndex((byte, i) => byte !== expected.bytes[i]);
  if (at >= 0 && how.temperature > 0 && (await isDrawnAtBorder(model, prompt, how, expected.bytes.slice(0, at + 1))))
    return;
  assert.deepEqual(found.bytes, expected.bytes);
  assert.equal(found.end, expected.end);
  found.logProbs.forEach((logProb, i) => {
    assert.ok(Math.abs(logProb - expected.logProbs[i]) < 1e-4, `byte ${i}: ${logProb}, ${expected.logProbs[i]}`);
  });
  assert.equal(drafted.length, plain.length);
  const [a, b] = [await plain.append([101]), await drafted.append([101])];
  a.forEach((logit, i) => {
    assert.ok(logit === b[i] || Math.abs(logit - b[i]) < 1e-3, `logit ${i} after it: ${b[i]}, ${logit}`);
  });
}

/**
 * Whether the number that drew the last of some bytes lies at the border of that byte's share: a byte is then another one as soon as a
 * logit is rounded otherwise, which it is with how many rows are run together.
 */
async function isDrawnAtBorder(model: TextModel, prompt: Uint8Array, how: GenerateOptions, bytes: readonly number[]) {
  const random = createRandom(how.seed!);
  const [drawn] = bytes.map(() => random()).slice(-1);
  const logits = await model
    .createSequence()
    .append([...encode(prompt), ...bytes.slice(0, -1).map((byte) => byte + BYTE_OFFSET)]);
  const shares = samplingDistribution(logits, how);
  const id = bytes[bytes.length - 1] + BYTE_OFFSET;
  const below = shares.subarray(0, id).reduce((sum, share) => sum + share, 0);
  return Math.min(Math.abs(drawn - below), Math.abs(drawn - below - shares[id])) < 1e-6;
}

const plans = fc.array(fc.integer({ min: 0, max: 20 }), { minLength: 1, maxLength: 6 });
const texts = ["const value = con", "return value;\n    return ", "", "const const const ", "x = naïve\nx = na"].map(
  bytesOf,
);
const RUNS = Number(process.env.BLT_EDIT_SCRIPTS ?? 12);

async function checkModel(model: TextModel, maxBytes: number) {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...texts),
      plans,
      fc.constantFrom(0, 0, 0.8),
      async (prompt, plan, temperature) => {
        const how = { temperature, seed: plan[0], maxBytes, stop: [bytesOf("}{")] };
        const truth = (await write(model.createSequence(), encode(prompt), how)).bytes;
        const drafters = [oracle(Uint8Array.from([...prompt, ...truth]), plan), new CountsDrafter(null)];
        await checkSame(model, prompt, how, createSpeculation(drafters, bold()));
      },
    ),
    { numRuns: RUNS },
  );
  const longest = createSpeculation([new StaleLatentDrafter()], bold());
  for (const prompt of texts) await checkSame(model, prompt, { temperature: 0, maxBytes }, longest);
  return longest.counts;
}

describe("drafts change nothing but the speed", () => {
  it("of a random BLT, whose local decoder drafts too", async () => {
    const model = await loadGolden("k2", { patcher_window: 9, local_window: 12 });
    const { drafted, accepted } = await checkModel(model, 40);
    assert.ok(drafted > 0 && accepted > 0 && accepted < drafted);
    await model.release();
  }).timeout(600_000);

  it("of a trained BLT", async () => {
    const model = await loadModel(openModel(join(__dirname, "../../../models/tiny")), options);
    const { drafted, accepted } = await checkModel(model, 40);
    assert.ok(accepted > drafted / 4, `${accepted} of ${drafted}`);
    await model.release();
  }).timeout(600_000);

  it("of models with a lexicon", async () => {
    for (const name of ["plain", "blocks", "symmetric"]) {
      const model = await LexiconModel.load(openLexiconCheckpoint(lexiconFolder(name)), options);
      assert.equal((await checkModel(model, 40)).drafted, 0);
      await model.release();
    }
  }).timeout(600_000);

  it("of a model with a draft layer, however far it looks ahead", async () => {
    const model = await LexiconModel.load(openLexiconCheckpoint(lexiconFolder("drafted")), options);
    const counts = { drafted: 0, accepted: 0 };
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...texts), plans, fc.constantFrom(0, 0.8), async (prompt, plan, temperature) => {
        const how = { temperature, seed: plan[0], maxBytes: 40 };
        const speculation = createSpeculation([farsighted(plan), new CountsDrafter(null)]);
        await checkSame(model, prompt, how, speculation);
        await checkSame(new MixedModel({ network: model, workspace: null }), prompt, how, speculation);
        counts.drafted += speculation.counts.drafted;
        counts.accepted += speculation.counts.accepted;
      }),
      { numRuns: RUNS },
    );
    assert.ok(counts.accepted > 20 && counts.accepted < counts.drafted, JSON.stringify(counts));
    const own = createSpeculation([new ForesightDrafter()]);
    for (const prompt of texts) await checkSame(model, prompt, { temperature: 0, maxBytes: 40 }, own);
    await model.release();
  }).timeout(600_000);

  it("of a model mixed with counts, fixed or learning", async () => {
    const network = await LexiconModel.load(openLexiconCheckpoint(lexiconFolder("plain")), options);
    await checkModel(new MixedModel({ network, workspace: null }), 30);
    await checkModel(new MixedModel({ network, workspace: null, learning: learningRates }), 30);
    await network.release();
  }).timeout(600_000);

  it("of the default model", async () => {
    const model = await loadModel(openModel(join(__dirname, "../../../models/default")), options);
    const text = readFileSync(join(__dirname, "../../../model-runtime/model/row-store.ts")).subarray(0, 700);
    const how = { temperature: 0, maxBytes: 60 };
    const truth = (await write(model.createSequence(), encode(text), how)).bytes;
    const drafters = [oracle(Uint8Array.from([...text, ...truth]), [12, 0, 20, 7])];
    const speculation = createSpeculation(drafters, bold());
    await checkSame(model, text, how, speculation);
    assert.ok(speculation.counts.accepted > 10, JSON.stringify(speculation.counts));
    await model.release();
  }).timeout(600_000);
});

describe("drafts", () => {
  it("stop where generation is aborted, and the text holds what was yielded", async () => {
    const model = await loadGolden("k2");
    const sequence = model.createSequence();
    const controller = new AbortController();
    const speculation = createSpeculation([new CountsDrafter(null)]);
    const all = generate(sequence, encode(bytesOf("abababababab")), {
      temperature: 0,
      maxBytes: 100,
      signal: controller.signal,
      speculation,
    });
    for (let i = 0; i < 5; i++) assert.equal((await all.next()).done, false);
    controller.abort();
    let step = await all.next();
    while (!step.done) step = await all.next();
    assert.equal(step.value, "aborted");
    assert.ok(sequence.length >= 13 + 4 && sequence.length <= 13 + 100);
    await model.release();
  });
});
