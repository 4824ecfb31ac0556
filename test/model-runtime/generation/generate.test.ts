import assert from "node:assert/strict";
import {
  type EndReason,
  type GenerateOptions,
  generate,
  generateBeam,
} from "../../../model-runtime/generation/generate";
import { argmax, maskIds, neverGenerated } from "../../../model-runtime/generation/sampling";
import { BOS, BYTE_OFFSET, EOS } from "../../../model-runtime/ids";
import type { Blt } from "../../../model-runtime/model/blt";
import type { BltSequence } from "../../../model-runtime/model/sequence";
import { loadGolden } from "../../helpers/golden";

const PROMPT = [BOS, 76, 105, 112, 112, 115];

/** Plain greedy by fresh runs: what a continuation must be. */
async function greedyByFreshRuns(model: Blt, count: number): Promise<number[]> {
  const ids = [...PROMPT];
  while (ids.length < PROMPT.length + count) {
    const id = argmax(maskIds(await model.createSequence().append(ids), neverGenerated));
    if (id === EOS) break;
    ids.push(id);
  }
  return ids.slice(PROMPT.length).map((id) => id - BYTE_OFFSET);
}

async function collect(
  sequence: BltSequence,
  options: Partial<GenerateOptions>,
  prompt: number[] = PROMPT,
): Promise<{ bytes: number[]; end: EndReason; logProb: number }> {
  const bytes: number[] = [];
  let logProb = 0;
  const generator = generate(sequence, prompt, { temperature: 0, maxBytes: 12, ...options });
  for (;;) {
    const next = await generator.next();
    if (next.done) return { bytes, end: next.value, logProb };
    bytes.push(next.value.byte);
    logProb += next.value.logProb;
  }
}

describe("generate", () => {
  let model: Blt;
  let greedy: number[];
  before(async () => {
    model = await loadGolden("k2");
    greedy = await greedyByFreshRuns(model, 12);
  });
  after(() => model.release());

  it("greedy bytes are those of fresh runs", async () => {
    const sequence = model.createSequence();
    const { bytes, end } = await collect(sequence, {});
    assert.deepEqual({ bytes, end }, { bytes: greedy, end: "length" });
    assert.equal(sequence.length, PROMPT.length + 12);
  });

  it("goes on where it ended", async () => {
    const sequence = model.createSequence();
    const first = await collect(sequence, { maxBytes: 5 });
    const second = await collect(sequence, { maxBytes: 7 }, []);
    assert.deepEqual([...first.bytes, ...second.bytes], greedy);
  });

  it("ends before a stop string, which is in neither the bytes nor the text", async () => {
    const sequence = model.createSequence();
    const { bytes, end } = await collect(sequence, { stop: [Uint8Array.from(greedy.slice(4, 7))] });
    assert.deepEqual({ bytes, end }, { bytes: greedy.slice(0, 4), end: "stop" });
    assert.equal(sequence.length, PROMPT.length + 4);
  });

  it("gives out what only began like a stop string", async () => {
    const never = Uint8Array.from([...greedy.slice(8, 12), greedy[0] ^ 1]);
    assert.deepEqual((await collect(model.createSequence(), { stop: [never] })).bytes, greedy);
  });

  it("ends at EOS", async () => {
    // A model that is sure of EOS: its head's row is made of the last state it sees.
    const sequence = model.createSequence();
    const append = sequence.append.bind(sequence);
    let calls = 0;
    sequence.append = async (ids, options) => {
      const logits = await append(ids, options);
      if (++calls === 4) logits.fill(-20).fill(20, EOS, EOS + 1);
      return logits;
    };
    assert.deepEqual(await collect(sequence, {}).then(({ bytes, end }) => [bytes, end]), [greedy.slice(0, 3), "eos"]);
  });

  it("the same seed gives the same text, another one another", async () => {
    const sampled = (seed: number) => collect(model.createSequence(), { temperature: 1, maxBytes: 24, seed });
    assert.deepEqual((await sampled(7)).bytes, (await sampled(7)).bytes);
    assert.notDeepEqual((await sampled(7)).bytes, (await sampled(8)).bytes);
  });

  it("an expired time limit yields nothing and says so", async () => {
    const { bytes, end } = await collect(model.createSequence(), { timeLimitMs: 0 });
    assert.deepEqual({ bytes, end }, { bytes: [], end: "time" });
  });

  it("stops at an abort and keeps the bytes it gave out", async () => {
    const sequence = model.createSequence();
    const controller = new AbortController();
    const bytes: number[] = [];
    const options = { temperature: 0, maxBytes: 12, signal: controller.signal };
    const generator = generate(sequence, PROMPT, options);
    let end: EndReason | undefined;
    while (end === undefined) {
      const next = await generator.next();
      if (next.done) end = next.value;
      else if (bytes.push(next.value.byte) === 3) controller.abort();
    }
    assert.deepEqual({ bytes, end }, { bytes: greedy.slice(0, 3), end: "aborted" });
    assert.equal(sequence.length, PROMPT.length + 2);
  });

  for (const [options, message] of [
    [{ maxBytes: 0 }, /longest continuation/i],
    [{ temperature: -1 }, /temperature/i],
    [{ topP: 0 }, /top-p/i],
  ] as const)
    it(`refuses ${JSON.stringify(options)}`, () =>
      assert.rejects(collect(model.createSequence(), options), { name: "UserError", message }));

  it("a beam of one is greedy", async () => {
    const { bytes, end } = await generateBeam(model.createSequence(), PROMPT, { width: 1, maxBytes: 12 });
    assert.deepEqual({ bytes: [...bytes], end }, { bytes: greedy, end: "length" });
  });

  it("a wider beam finds nothing less likely, and leaves the text at the prompt", async () => {
    const sequence = model.createSequence();
    const one = await collect(model.createSequence(), { maxBytes: 6 });
    const four = await generateBeam(sequence, PROMPT, { width: 4, maxBytes: 6, lengthPenalty: 0 });
    assert.ok(four.logProb >= one.logProb - 1e-6, `${four.logProb} < ${one.logProb}`);
    assert.equal(sequence.length, PROMPT.length);
  });

  it("a beam ends at a stop string", async () => {
    const stop = [Uint8Array.from(greedy.slice(2, 4))];
    const { bytes, end } = await generateBeam(model.createSequence(), PROMPT, { width: 1, maxBytes: 12, stop });
    assert.deepEqual({ bytes: [...bytes], end }, { bytes: greedy.slice(0, 2), end: "stop" });
    const atOnce = { width: 1, maxBytes: 12, stop: [Uint8Array.from(greedy.slice(0, 2))] };
    const whole = await generateBeam(model.createSequence(), PROMPT, atOnce);
    assert.deepEqual([[...whole.bytes], whole.end], [[], "stop"]);
  });

  it("a beam refuses an empty stop string", async () => {
    const options = { width: 1, maxBytes: 12, stop: [new Uint8Array(0)] };
    await assert.rejects(generateBeam(model.createSequence(), PROMPT, options), /A stop string is empty/);
  });
});
