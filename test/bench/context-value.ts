/**
 * What more context is worth: bits per byte and exact match of line remainders, by what the model reads before them.
 * `npx esbuild test/bench/context-value.ts --bundle --platform=node --external:onnxruntime-node --outfile=dist/context-value.js`,
 * then `node dist/context-value.js --cases N FOLDER...`; each folder is a project, its files are "open" together.
 */
import { parseArgs } from "node:util";
import { createRandom } from "../../model-runtime/generation/random";
import { logSoftmax } from "../../model-runtime/generation/sampling";
import { encode, VOCABULARY_SIZE } from "../../model-runtime/ids";
import { loadModel, openModel } from "../../model-runtime/model/load-model";
import type { TextModel } from "../../model-runtime/model/text-state";
import { RelatedParts } from "../../server/related";
import { lastLines, type Place, placesIn } from "./lib/places";

type Variant = (place: Place) => string | Promise<string>;

const variants: Record<string, Variant> = {
  "1.5 kB before": ({ prefix }) => lastLines(prefix, 1536),
  "400 B of the lines after, 1.5 kB before": ({ prefix, suffix }) =>
    `${suffix.slice(0, 400)}\n\n${lastLines(prefix, 1536)}`,
  "1 kB of other files, 1.5 kB before": async (place) => (await related(place, 1024)) + lastLines(place.prefix, 1536),
};

function related({ prefix, suffix, others }: Place, length: number): Promise<string> {
  const texts = others.map(({ path, text }) => ({ uri: path, version: 1, text }));
  return new RelatedParts().find(prefix.slice(-1000) + suffix.slice(0, 500), texts, length);
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: {
      cases: { type: "string", default: "60" },
      seed: { type: "string", default: "11" },
      model: { type: "string", default: "models/default" },
    },
    allowPositionals: true,
  });
  const model = await loadModel(openModel(values.model), { device: "cpu" });
  const random = createRandom(Number(values.seed));
  // One of each project after the other, so that the first numbers are of all of them.
  const byProject = positionals.map((folder) => placesIn(folder, Number(values.cases), random));
  const places = byProject[0].flatMap((_, index) => byProject.map((project) => project[index]));
  const sums = new Map(Object.keys(variants).map((name) => [name, { nats: 0, exact: 0, bytes: 0 }]));
  for (const [index, place] of places.entries()) {
    for (const [name, variant] of Object.entries(variants)) {
      const { nats, exact } = await judge(model, await variant(place), place.rest);
      const sum = sums.get(name)!;
      sum.nats += nats;
      sum.bytes += Buffer.byteLength(place.rest) + 1;
      sum.exact += exact ? 1 : 0;
    }
    process.stderr.write(`${index + 1}/${places.length} ${place.name}\n`);
    if ((index + 1) % 6 === 0 || index + 1 === places.length) print(sums, index + 1);
  }
}

function print(sums: Map<string, { nats: number; exact: number; bytes: number }>, count: number): void {
  console.log(`\n| ${count} line remainders | bits per byte | exact |\n| --- | ---: | ---: |`);
  for (const [name, { nats, exact, bytes }] of sums)
    console.log(`| ${name} | ${(nats / Math.LN2 / bytes).toFixed(3)} | ${(exact / count).toFixed(3)} |`);
}

async function judge(model: TextModel, context: string, rest: string): Promise<{ nats: number; exact: boolean }> {
  const text = model.createSequence();
  const prompt = encode(Buffer.from(context));
  const ids = encode(Buffer.from(`${rest}\n`)).slice(1);
  // What is known in one run, then the last id of it with the line's.
  await text.append(prompt.subarray(0, -1), { logits: "none" });
  const rows = await text.append([prompt[prompt.length - 1], ...ids], { logits: "all" });
  let nats = 0;
  let exact = true;
  for (const [at, id] of ids.entries()) {
    const logProbs = logSoftmax(rows.subarray(at * VOCABULARY_SIZE, (at + 1) * VOCABULARY_SIZE));
    nats -= logProbs[id];
    exact &&= logProbs.indexOf(Math.max(...logProbs)) === id;
  }
  return { nats, exact };
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
