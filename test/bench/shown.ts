/**
 * What is shown and whether it is right, by the confidence asked for: the model's line through the server's cuts, at places
 * in real code, as a document that ends its line at the cursor. `npx esbuild test/bench/shown.ts --bundle --platform=node --external:onnxruntime-node --outfile=.cache/shown.js`,
 * then `node .cache/shown.js --places N FOLDER...`; each folder is a project. `--read text` shows the model the text before the cursor alone, `--read path`
 * its path too; as the server does (`all`) what follows as well. `--workspace` mixes in counts of the rest of the project. `--suffix` also asks whether the line that stands
 * below would choose better between the model's first thought and two others. `--out` keeps what was written, `--in` reads it.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { readCompletionMarks } from "../../model-runtime/checkpoint/completion-marks";
import { generate } from "../../model-runtime/generation/generate";
import { createRandom } from "../../model-runtime/generation/random";
import { encode, VOCABULARY_SIZE } from "../../model-runtime/ids";
import { loadModel, openModel } from "../../model-runtime/model/load-model";
import type { TextState } from "../../model-runtime/model/text-state";
import { MixedModel } from "../../model-runtime/ngram/mixed-model";
import { MOST_TEXT_BYTES, WorkspaceIndex } from "../../model-runtime/ngram/workspace-index";
import { readWorkspace } from "../../model-runtime/workspace/read-workspace";
import { toInsertion } from "../../server/completion";
import { createStopRule } from "../../server/extent";
import { confidentLength, createConfidenceRule } from "../../server/gate";
import { bytesOf } from "../../server/model-text";
import { contextOf, type Place, placesIn } from "./lib/places";

const thresholds = [0, 0.6, 0.7, 0.8, 0.85, 0.875, 0.9, 0.92, 0.94, 0.95, 0.97];

/** Other thoughts beside the first, and how they are drawn as the server draws alternatives. */
const [OTHERS, TEMPERATURE] = [2, 0.7];
/** So much of the line below is asked about, bytes. */
const BELOW_BYTES = 60;

interface Written {
  bytes: number[];
  /** Nats. */
  logProbs: number[];
  /** Log-probability of the line below behind this one, nats a byte; null when it was not asked for. */
  below: number | null;
}

interface Sample {
  place: Pick<Place, "name" | "prefix" | "rest" | "suffix">;
  /** The likeliest line first. */
  written: Written[];
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: {
      places: { type: "string", default: "20" },
      model: { type: "string", default: "models/default" },
      context: { type: "string", default: "1500" },
      read: { type: "string", default: "all" },
      workspace: { type: "boolean", default: false },
      suffix: { type: "boolean", default: false },
      out: { type: "string" },
      in: { type: "string" },
    },
    allowPositionals: true,
  });
  const samples: Sample[] = values.in ? JSON.parse(readFileSync(values.in, "utf8")) : [];
  if (!values.in) {
    const model = await loadModel(openModel(values.model), { device: "cpu" });
    const random = createRandom(5);
    for (const folder of positionals) {
      const places = placesIn(folder, Number(values.places), random);
      const counts = values.workspace ? await countProject(folder) : null;
      const source = counts === null ? model : new MixedModel({ network: model, workspace: counts });
      for (const place of places) {
        const { name, prefix, rest, suffix } = place;
        const context = contextOf(place, Number(values.context));
        if (counts !== null) countAround(counts, place, prefix.length - context.text.length);
        if (values.read !== "all") context.suffix = null;
        if (values.read === "text") context.path = "";
        const prompt = encode(bytesOf(context, readCompletionMarks(values.model)));
        const text = source.createSequence();
        const written: Written[] = [];
        for (let seed = 0; seed <= (values.suffix ? OTHERS : 0); seed++) {
          const line = await write(text, prompt, seed);
          written.push({
            ...line,
            below: values.suffix ? await scoreBelow(text, prompt.length, line.bytes, suffix) : null,
          });
        }
        if (counts !== null) countWhole(counts, place);
        samples.push({ place: { name, prefix, rest, suffix: suffix.slice(0, 2000) }, written });
        if (values.out) writeFileSync(values.out, JSON.stringify(samples));
      }
    }
  }
  reportShown(samples);
  if (samples.every(({ written }) => written.length > 1)) reportSuffix(samples);
}

/** Counts of all files of a project, by their paths. */
async function countProject(folder: string): Promise<WorkspaceIndex> {
  const index = new WorkspaceIndex();
  for await (const { path, bytes } of readWorkspace(folder, { maxBytes: MOST_TEXT_BYTES }))
    index.set(join(folder, path), bytes);
  return index;
}

/** Counts of a place's file only what stands before the context and below the line, as the server does. */
function countAround(counts: WorkspaceIndex, { file, prefix, suffix }: Place, start: number): void {
  counts.remove(file);
  counts.set(`${file}\0before`, Buffer.from(prefix.slice(0, start)));
  counts.set(`${file}\0after`, Buffer.from(suffix));
}

function countWhole(counts: WorkspaceIndex, { file, prefix, rest, suffix }: Place): void {
  for (const part of ["before", "after"]) counts.remove(`${file}\0${part}`);
  counts.set(file, Buffer.from(`${prefix}${rest}\n${suffix}`));
}

/** A line behind the prompt: the likeliest one, or with a seed another. */
async function write(text: TextState, prompt: Uint16Array, seed: number): Promise<Omit<Written, "below">> {
  text.truncate(Math.min(text.length, prompt.length - 1));
  const [bytes, logProbs]: number[][] = [[], []];
  const isEnough = createStopRule({ kind: "line" });
  const options = { temperature: seed === 0 ? 0 : TEMPERATURE, seed, maxBytes: 120 };
  for await (const { byte, logProb } of generate(text, prompt.subarray(text.length), options)) {
    if (isEnough(byte)) break;
    bytes.push(byte);
    logProbs.push(logProb);
  }
  return { bytes, logProbs };
}

/** Log-probability a byte, nats, of the first line below that is not blank, behind a line that was written. */
async function scoreBelow(text: TextState, length: number, line: number[], suffix: string): Promise<number | null> {
  const below = suffix.split("\n").find((each) => each.trim().length > 2);
  if (below === undefined) return null;
  const [before, after] = [[...line, 10], [...Buffer.from(below)].slice(0, BELOW_BYTES)];
  text.truncate(length);
  const ids = encode(Uint8Array.from([...before, ...after])).subarray(1);
  const rows = await text.append(ids, { logits: "all" });
  let sum = 0;
  for (let i = before.length; i < ids.length; i++) sum += logSoftmaxAt(rows, i - 1, ids[i]);
  return sum / after.length;
}

function logSoftmaxAt(rows: Float32Array, row: number, id: number): number {
  const logits = rows.subarray(row * VOCABULARY_SIZE, (row + 1) * VOCABULARY_SIZE);
  const most = Math.max(...logits);
  return logits[id] - most - Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - most), 0));
}

function reportShown(samples: Sample[]): void {
  console.log(`${samples.length} places; right: what is shown is what stands there.\n`);
  console.log(
    "| confidence | shown | right, of the shown | characters shown | of them right | right characters a place |",
  );
  console.log("| ---: | ---: | ---: | ---: | ---: | ---: |");
  for (const threshold of thresholds) {
    let [shown, right, characters, rightCharacters] = [0, 0, 0, 0];
    for (const { place, written } of samples) {
      const text = suggestion(place, written[0], threshold);
      if (text === null) continue;
      shown++;
      characters += text.length;
      const common = commonLength(text, place.rest);
      rightCharacters += common;
      if (common === text.length) right++;
    }
    const cells = [
      threshold,
      share(shown, samples.length),
      share(right, shown),
      (characters / Math.max(1, shown)).toFixed(1),
    ];
    console.log(
      `| ${[...cells, share(rightCharacters, characters), (rightCharacters / samples.length).toFixed(1)].join(" | ")} |`,
    );
  }
}

/** Chooses among the lines by their own probability and, with a weight, that of the line below. */
function reportSuffix(samples: Sample[]): void {
  console.log("\n| weight of the line below | whole lines right | right characters a place |\n| ---: | ---: | ---: |");
  for (const weight of ["first thought", 0, 0.25, 0.5, 1, 2, "best of all"] as const) {
    let [exact, characters] = [0, 0];
    for (const { place, written } of samples) {
      const lines = written.map(({ bytes }) => Buffer.from(bytes).toString());
      const scores = written.map(({ logProbs, below }, i) =>
        typeof weight === "number"
          ? mean(logProbs) + weight * (below ?? 0)
          : weight === "best of all"
            ? commonLength(lines[i], place.rest) + (lines[i] === place.rest ? 1 : 0)
            : -i,
      );
      const chosen = lines[scores.indexOf(Math.max(...scores))];
      if (chosen.trimEnd() === place.rest.trimEnd()) exact++;
      characters += commonLength(chosen, place.rest);
    }
    console.log(`| ${weight} | ${share(exact, samples.length)} | ${(characters / samples.length).toFixed(1)} |`);
  }
}

function mean(values: number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}

function share(part: number, whole: number): string {
  return whole === 0 ? "-" : `${((100 * part) / whole).toFixed(0)} %`;
}

/** What is shown at a place where nothing stands behind the cursor; null when nothing is. */
function suggestion({ name, prefix, suffix }: Sample["place"], { bytes, logProbs }: Written, minConfidence: number) {
  // The model gives up where it is far too unsure.
  const given = logProbs.findIndex(createConfidenceRule(minConfidence)) + 1 || bytes.length;
  const length = confidentLength(Uint8Array.from(bytes.slice(0, given)), logProbs, minConfidence);
  const context = contextOf({ name, prefix, suffix }, 1500);
  const insertion = toInsertion(Buffer.from(bytes.slice(0, length)).toString(), context, { invoked: false });
  return "reason" in insertion ? null : insertion.text.slice(insertion.replacesBefore);
}

function commonLength(a: string, b: string): number {
  let length = 0;
  while (length < Math.min(a.length, b.length) && a[length] === b[length]) length++;
  return length;
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
