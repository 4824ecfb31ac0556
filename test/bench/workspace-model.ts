/**
 * The workspace model on held-out files of projects: bits per byte of the network, of counts alone and of the mixture; speed and
 * memory; whole lines completed right. `workspace_references.py` gives PPMd's and xz's numbers for the same split.
 *
 *     npx esbuild test/bench/workspace-model.ts --bundle --platform=node --external:onnxruntime-node --outfile=.cache/workspace-model.js
 *     node .cache/workspace-model.js split SPLIT.json NAME=FOLDER...       # which files are held out
 *     node .cache/workspace-model.js record SPLIT.json CACHE [MODEL]      # the network's distributions, kept in a folder
 *     node .cache/workspace-model.js train SPLIT.json CACHE               # writes the weights that the mixture begins with
 *     node .cache/workspace-model.js report SPLIT.json CACHE              # bits per byte
 *     node .cache/workspace-model.js speed SPLIT.json                     # index, prediction, edit
 *     node .cache/workspace-model.js sums SPLIT.json CONTEXTS             # whether every prediction sums to 1
 *     node .cache/workspace-model.js lines SPLIT.json CASES RESULTS.json  # whole lines, with and without; nine minutes a call
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { scoreText } from "../../model-runtime/evaluate";
import { generate } from "../../model-runtime/generation/generate";
import { createRandom } from "../../model-runtime/generation/random";
import { BOS, BYTE_OFFSET, encode } from "../../model-runtime/ids";
import { loadModel, openModel } from "../../model-runtime/model/load-model";
import type { TextModel } from "../../model-runtime/model/text-state";
import { END_SYMBOL, SYMBOLS } from "../../model-runtime/ngram/chains";
import { History } from "../../model-runtime/ngram/history";
import { MixedModel } from "../../model-runtime/ngram/mixed-model";
import { initialMixtureWeights, learningRates, Mixture, stepped } from "../../model-runtime/ngram/mixture";
import { defaultMixtureWeights, WEIGHT_UNIT } from "../../model-runtime/ngram/mixture-weights";
import { WorkspaceIndex } from "../../model-runtime/ngram/workspace-index";
import { indexOf, type Project, RecordedModel, record, recordingOf, splitProject } from "./lib/workspace-projects";

const WEIGHTS = "model-runtime/ngram/mixture-weights.json";
const TRAINING_PASSES = 3;
/** Every so many files are learned with an untrained network as well. */
const GARBLED_EACH = 12;
/** Time that one call of `lines` takes at most, ms. */
const LINES_MS = 540_000;

async function main([command, split, ...rest]: string[]): Promise<void> {
  if (command === "split") {
    const projects = rest.map((each) => {
      const [name, folder] = each.split("=");
      return splitProject(name, folder, { mostBytes: 14_000, largestFile: 14_000 });
    });
    writeFileSync(split, JSON.stringify(projects, null, 1));
    return;
  }
  const projects: Project[] = JSON.parse(readFileSync(split, "utf8"));
  if (command === "record") await recordAll(projects, rest[0], rest[1]);
  else if (command === "train") train(projects, rest[0]);
  else if (command === "report") await report(projects, rest[0]);
  else if (command === "speed") speed(projects);
  else if (command === "sums") sums(projects, Number(rest[0]));
  else if (command === "lines") await lines(projects, Number(rest[0]), rest[1], rest[2]);
  else throw new Error(`there is no command ${command}`);
}

async function recordAll(projects: Project[], cache: string, folder = "models/default"): Promise<void> {
  const files = projects.flatMap(({ scored }) => scored).filter((file) => recordingOf(file, cache) === null);
  const model = await loadModel(openModel(folder), { device: "cpu" });
  for (const file of files) {
    await record(model, file, cache);
    console.log(basename(file));
  }
  await model.release();
}

/** Steps along each weight's slopes, shorter the more of them there have been (Adagrad), and with every pass. */
function train(projects: Project[], cache: string): void {
  const weights = initialMixtureWeights();
  const initial = weights.slice();
  const squares = new Float32Array(weights.length).fill(0.01);
  const files = projects.flatMap((project) => {
    const index = indexOf(project);
    return project.scored.map((file) => ({ mixture: new Mixture(index), recording: recordingOf(file, cache)! }));
  });
  const random = createRandom(7);
  for (let pass = 0; pass < TRAINING_PASSES; pass++) {
    const rest = 1 - pass / TRAINING_PASSES;
    const rates = { interpolation: 0.15 * rest, exponents: 0.02 * rest };
    const order = files.map((file) => ({ file, key: random() })).sort((a, b) => a.key - b.key);
    for (const [i, { file }] of order.entries()) {
      const { mixture, recording } = file;
      const learn = (symbol: number) =>
        mixture.learn(symbol, (index, slope) => {
          squares[index] += slope * slope;
          weights[index] = stepped(index, weights[index], slope / Math.sqrt(squares[index]), rates);
        });
      // Now and then the network knows nothing, so that no weight trusts one that has no idea.
      const garbled = (i + pass) % GARBLED_EACH === 0 ? noise(SYMBOLS * recording.bytes.length, i) : null;
      const history = new History();
      history.push(BOS);
      for (const [at, byte] of recording.bytes.entries()) {
        for (const rows of garbled === null || at % 2 === 1 ? [recording.rows] : [recording.rows, garbled]) {
          mixture.predict(history, rows.subarray(at * SYMBOLS, (at + 1) * SYMBOLS), weights);
          learn(byte);
        }
        history.push(byte + BYTE_OFFSET);
      }
      mixture.predict(history, recording.rows.subarray(-SYMBOLS), weights);
      learn(END_SYMBOL);
    }
  }
  const pairs: number[] = [];
  for (let i = 0; i < weights.length; i++) {
    if (Math.abs(weights[i] - initial[i]) > 2 * WEIGHT_UNIT) pairs.push(i, Math.round(weights[i] / WEIGHT_UNIT));
  }
  writeFileSync(WEIGHTS, `${JSON.stringify(pairs)}\n`);
  console.log(`${pairs.length / 2} of ${weights.length} weights written`);
}

/** Logits of a network that was never trained: normally distributed, some flatter than others. */
function noise(count: number, seed: number): Float32Array {
  const random = createRandom(seed);
  const scale = [0.5, 1, 1.5][seed % 3];
  return Float32Array.from({ length: count }, () => {
    const radius = Math.sqrt(-2 * Math.log(1 - random()));
    return scale * radius * Math.cos(2 * Math.PI * random());
  });
}

async function report(projects: Project[], cache: string): Promise<void> {
  const columns = ["bytes", "workspace kB", "network", "counts", "mixture, fixed", "mixture, learning", "saved %"];
  console.log(`| project | ${columns.join(" | ")} |`);
  for (const project of projects) {
    const index = indexOf(project);
    const recordings = project.scored.map((file) => recordingOf(file, cache)).filter((found) => found !== null);
    const bytes = recordings.reduce((sum, each) => sum + each.bytes.length, 0);
    const bitsOf = async (model: (network: TextModel) => TextModel) => {
      let bits = 0;
      for (const each of recordings) bits += (await scoreText(model(new RecordedModel(each)), each.bytes)).bits;
      return bits / bytes;
    };
    const network = await bitsOf((model) => model);
    const counts = await bitsOf(() => new MixedModel({ network: null, workspace: index, learning: learningRates }));
    const fixed = await bitsOf((model) => new MixedModel({ network: model, workspace: index }));
    const learning = { workspace: index, learning: learningRates };
    const learned = await bitsOf((model) => new MixedModel({ network: model, ...learning }));
    const numbers = [network, counts, fixed, learned].map((bpb) => bpb.toFixed(3));
    const saved = (100 * (1 - learned / network)).toFixed(1);
    console.log(
      `| ${project.name} | ${bytes} | ${Math.round(index.length / 1e3)} | ${numbers.join(" | ")} | ${saved} |`,
    );
  }
}

function speed(projects: Project[]): void {
  for (const project of projects) {
    const texts = project.workspace.map((file) => new Uint8Array(readFileSync(file)));
    const size = texts.reduce((sum, { length }) => sum + length, 0);
    // The reference: the same bytes copied one by one.
    const copy = new Uint8Array(size);
    const copied = fastest(5, () => {
      let at = 0;
      for (const text of texts) for (let i = 0; i < text.length; i++) copy[at++] = text[i] ^ 1;
    });
    let index: WorkspaceIndex | null = null;
    const built = fastest(5, () => {
      index = new WorkspaceIndex(size + 33 * texts.length);
      for (const [i, text] of texts.entries()) index.set(String(i), text);
    });
    const memory = (index!.memoryBytes - 263_168) / size;
    const mixture = new Mixture(index!);
    const weights = defaultMixtureWeights().slice();
    const flat = new Float64Array(257);
    const text = new Uint8Array(readFileSync(project.scored[0])).subarray(0, 4000);
    const predicted = (learns: boolean, network: Float64Array | null) =>
      (1000 / text.length) *
      fastest(8, () => {
        const history = new History();
        for (const byte of text) {
          mixture.predict(history, network, weights);
          if (learns) mixture.learn(byte, (index, slope) => stepped(index, weights[index], slope, learningRates));
          history.push(byte + BYTE_OFFSET);
        }
      });
    index!.set("edited", text);
    let at = 0;
    const edited = fastest(20, () => {
      for (let i = 0; i < 50; i++) index!.edit("edited", { start: at++, deleted: 0, inserted: Uint8Array.of(97) });
    });
    console.log(
      [
        `${project.name}: ${(size / 1e6).toFixed(2)} MB`,
        `copied at ${(size / 1e3 / copied).toFixed(0)} MB/s, indexed at ${(size / 1e3 / built).toFixed(1)} MB/s`,
        `${memory.toFixed(2)} bytes of memory a byte`,
        `counts ${predicted(false, null).toFixed(1)} us a byte, mixture ${predicted(false, flat).toFixed(1)}, learning ${predicted(true, flat).toFixed(1)}`,
        `edit ${(edited / 50).toFixed(3)} ms`,
      ].join("; "),
    );
  }
}

/** Predicts after every byte of files, with a network that says anything at all, until there were enough contexts. */
function sums(projects: Project[], contexts: number): void {
  const random = createRandom(1);
  const weights = defaultMixtureWeights();
  const logits = new Float64Array(257);
  let [seen, furthest] = [0, 0];
  for (let round = 0; seen < contexts; round++) {
    for (const project of projects) {
      const mixture = new Mixture(indexOf(project));
      for (const file of project.workspace.filter((_, i) => i % 20 === round % 20)) {
        const history = new History();
        for (const byte of readFileSync(file).subarray(0, 20_000)) {
          for (let i = 0; i < 8; i++) logits[Math.floor(257 * random())] = 40 * random() - 20;
          for (const network of [null, logits]) {
            const total = mixture.predict(history, network, weights).reduce((sum, log) => sum + Math.exp(log), 0);
            furthest = Math.max(furthest, Math.abs(total - 1));
          }
          history.push(byte + BYTE_OFFSET);
          seen++;
        }
      }
    }
  }
  console.log(`${seen} contexts, each with and without a network: sums differ from 1 by ${furthest} at most`);
}

/** One completed line: whether it was right to the byte without and with the workspace; null what was not run yet. */
interface LineResult {
  alone: boolean | null;
  mixed: boolean | null;
}

/** Completes lines until all are done or the time is up; what is done stands in `results`, and the next call goes on. */
async function lines(projects: Project[], cases: number, results: string, folder = "models/default"): Promise<void> {
  const known: Record<string, LineResult> = existsSync(results) ? JSON.parse(readFileSync(results, "utf8")) : {};
  const deadline = Date.now() + LINES_MS;
  const network = await loadModel(openModel(folder), { device: "cpu" });
  for (const [at, project] of projects.entries()) {
    const mixed = new MixedModel({ network, workspace: indexOf(project) });
    for (let i = 0; i < cases; i++) {
      const random = createRandom(1000 * at + i);
      const { before, rest } = cut(project.scored, random);
      const context = encode(new TextEncoder().encode(before.slice(-1500)));
      const result = (known[`${project.name} ${i}`] ??= { alone: null, mixed: null });
      for (const [name, model] of [["alone", network] as const, ["mixed", mixed] as const]) {
        if (result[name] !== null || Date.now() > deadline) continue;
        result[name] = (await lineAfter(model, context)) === rest;
        writeFileSync(results, JSON.stringify(known, null, 1));
      }
    }
  }
  await network.release();
  for (const name of [...projects.map((project) => project.name), ""]) {
    const done = Object.entries(known).filter(
      ([key, { alone, mixed }]) => (name === "" || key.startsWith(`${name} `)) && alone !== null && mixed !== null,
    );
    const right = (which: "alone" | "mixed") => done.filter(([, result]) => result[which]).length;
    console.log(
      `${name || "all"}: of ${done.length} lines the network ${right("alone")} right, the mixture ${right("mixed")}`,
    );
  }
}

/** A cut behind the first word or so of a random line that has more, and at least 300 bytes before it. */
function cut(files: readonly string[], random: () => number): { before: string; rest: string } {
  for (;;) {
    const file = readFileSync(files[Math.floor(random() * files.length)], "utf8");
    const start = file.indexOf("\n", Math.floor(random() * file.length)) + 1;
    const end = file.indexOf("\n", start);
    const line = end < 0 ? "" : file.slice(start, end);
    const lead = /^\s*[\w@#/*]+\W?/.exec(line)?.[0] ?? "";
    const rest = line.slice(lead.length);
    if (start > 300 && lead !== "" && rest.trim().length >= 4) return { before: file.slice(0, start) + lead, rest };
  }
}

async function lineAfter(model: TextModel, context: Uint16Array): Promise<string> {
  const bytes: number[] = [];
  const stop = [Uint8Array.of(10)];
  for await (const { byte } of generate(model.createSequence(), context, { temperature: 0, maxBytes: 100, stop })) {
    bytes.push(byte);
  }
  return Buffer.from(bytes).toString();
}

/** Least processor time of several runs, ms: near what an undisturbed machine needs, however many others use this one. */
function fastest(runs: number, run: () => void): number {
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < runs; i++) {
    const start = process.cpuUsage();
    run();
    const { user, system } = process.cpuUsage(start);
    best = Math.min(best, (user + system) / 1000);
  }
  return best;
}

main(process.argv.slice(2));
