/**
 * Speed, memory and bits per byte of the default model on files.
 *
 *     npx esbuild test/bench/default-model.ts --bundle --platform=node --external:onnxruntime-node --outfile=.cache/default-model.js
 *     node --expose-gc .cache/default-model.js generate FILE      # loading, prefill, greedy generation, memory
 *     node .cache/default-model.js score FILE...                  # bits per byte: byte by byte, and as `blt eval` reads
 *     node .cache/default-model.js curve FILE...                  # bits, latent steps and ms a byte by refresh threshold
 *
 * `--rows` takes int8 rows for longer runs, as the editor does (docs/performance-engine.md).
 * `--device cuda` before the command, with `--require ./test/gpu/use-cuda-provider.cjs` for node, measures on a GPU.
 */
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { parseArgs } from "node:util";
import type { ResolvedDevice } from "../../model-runtime/device";
import { scoreText } from "../../model-runtime/evaluate";
import { generate } from "../../model-runtime/generation/generate";
import { encode } from "../../model-runtime/ids";
import { LexiconModel } from "../../model-runtime/model/lexicon-model";
import { loadModel, openModel } from "../../model-runtime/model/load-model";

const PROMPT_BYTES = 3000;
const GENERATED_BYTES = 200;
/** Of one file of a curve. */
const CURVE_BYTES = 1000;
const REFRESH_THRESHOLDS = [0.02, 0.05, 0.1, 0.2, 0.3, 0.5];

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: { device: { type: "string", default: "cpu" }, rows: { type: "boolean", default: false } },
    allowPositionals: true,
  });
  const [command, ...files] = positionals;
  const start = performance.now();
  const { device, rows } = values;
  const model = await loadModel(openModel("models/default"), { device: device as ResolvedDevice, int8Rows: rows });
  if (!(model instanceof LexiconModel)) throw new Error("models/default has no lexicon");
  console.log(`loaded in ${(performance.now() - start).toFixed(0)} ms, ${residentMiB()} MiB resident`);
  await measure(model, command, files);
  await model.release();
}

/** The files' beginnings byte by byte, once for each threshold, in turns, so that all share what slows the machine. */
async function curve(model: LexiconModel, files: string[]): Promise<void> {
  const points = REFRESH_THRESHOLDS.map((refreshThreshold) => ({ refreshThreshold, bits: 0, steps: 0, ms: 0 }));
  let bytes = 0;
  for (const file of files) {
    const text = readFileSync(file).subarray(0, CURVE_BYTES);
    bytes += text.length;
    for (const point of points) {
      const { refreshThreshold } = point;
      const { bits, steps, ms } = await byteByByte(model, text, { ...model.config.rule, refreshThreshold });
      point.bits += bits;
      point.steps += steps;
      point.ms += ms;
    }
  }
  console.log(
    `${bytes} bytes\n\n| refresh above | bits per byte | latent steps a byte | ms a byte |\n|---|---|---|---|`,
  );
  for (const { refreshThreshold, bits, steps, ms } of points) {
    const cells = [(bits / bytes).toFixed(4), (steps / bytes).toFixed(4), (ms / bytes).toFixed(2)];
    console.log(`| ${refreshThreshold} | ${cells.join(" | ")} |`);
  }
}

async function byteByByte(model: LexiconModel, text: Uint8Array, rule = model.config.rule) {
  const { reader, path } = model.createReader(undefined, rule);
  let nats = 0;
  const ms = await timed(async () => {
    for (const byte of text) {
      nats -= Math.log((await reader.distribution())[byte]);
      reader.append([byte]);
    }
  });
  return { bits: nats / Math.LN2, steps: path.steps, ms };
}

async function measure(model: LexiconModel, command: string, files: string[]): Promise<void> {
  if (command === "curve") return curve(model, files);
  for (const file of files) {
    console.log(basename(file));
    const text = readFileSync(file);
    await (command === "score" ? score(model, text) : speed(model, text));
  }
}

async function speed(model: LexiconModel, text: Uint8Array): Promise<void> {
  const { reader, path } = model.createReader();
  const prompt = text.subarray(0, PROMPT_BYTES);
  const prefill = await timed(async () => {
    reader.append(prompt);
    await reader.distribution();
  });
  console.log(`  prefill ${prompt.length} bytes, ${path.positions} positions: ${prefill.toFixed(0)} ms`);
  console.log(`  = ${(prompt.length / prefill).toFixed(2)} kB/s, ${residentMiB()} MiB resident`);
  const sequence = model.createSequence();
  await sequence.append(encode(prompt));
  let bytes = 0;
  const took = await timed(async () => {
    for await (const _ of generate(sequence, [], { temperature: 0, maxBytes: GENERATED_BYTES })) bytes++;
  });
  console.log(`  greedy ${bytes} bytes: ${(took / bytes).toFixed(2)} ms a byte, ${residentMiB()} MiB resident`);
}

async function score(model: LexiconModel, text: Uint8Array): Promise<void> {
  const typed = await byteByByte(model, text);
  const each = `${(typed.steps / text.length).toFixed(3)} latent steps a byte, ${(typed.ms / text.length).toFixed(2)} ms a byte`;
  console.log(`  byte by byte: ${(typed.bits / text.length).toFixed(4)} bits per byte, ${each}`);
  let bits = 0;
  const whole = await timed(async () => {
    bits = (await scoreText(model, text)).bits;
  });
  console.log(
    `  in chunks: ${(bits / text.length).toFixed(4)} bits per byte, ${(whole / text.length).toFixed(2)} ms a byte`,
  );
}

async function timed(run: () => Promise<void>): Promise<number> {
  const start = performance.now();
  await run();
  return performance.now() - start;
}

function residentMiB(): number {
  globalThis.gc?.();
  return Math.round(process.memoryUsage().rss / 2 ** 20);
}

main();
