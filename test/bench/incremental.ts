/**
 * Work in proportion to the edit: what a keystroke costs in a document's patches, what of the context is read again while
 * someone types, and what memory many edits leave. docs/performance-incremental.md explains the output.
 *
 *     npx esbuild test/bench/incremental.ts --bundle --platform=node --external:onnxruntime-node --outfile=.cache/incremental.js
 *     node --expose-gc .cache/incremental.js patching [--model FOLDER] FILE
 *     node --expose-gc .cache/incremental.js reuse FILE FILE
 *     node --expose-gc .cache/incremental.js memory [--model FOLDER] [--edits 50000] FILE
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { createRandom } from "../../model-runtime/generation/random";
import { encode } from "../../model-runtime/ids";
import { loadModel, openModel } from "../../model-runtime/model/load-model";
import type { TextModel } from "../../model-runtime/model/text-state";
import { PatchedBuffer } from "../../model-runtime/patching/patched-buffer";
import { KEPT_BYTES, KeptSequences } from "../../server/kept-sequences";
import { CountedText, TypingTrace } from "./lib/typing-trace";

const SIZES = [2_000, 20_000, 200_000, 1_000_000];
/** Keystrokes measured at each place, after a first one that moves the caches there. */
const KEYS = 15;

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: { model: { type: "string", default: "models/tiny" }, edits: { type: "string", default: "50000" } },
    allowPositionals: true,
  });
  const [command, ...files] = positionals;
  const texts = files.map((file) => readFileSync(file));
  if (command === "reuse") return reuse(texts.map((text) => text.toString()));
  const model = await loadModel(openModel(values.model), { device: "cpu" });
  if (command === "patching") await patching(model, texts[0]);
  else await memory(model, texts[0], Number(values.edits));
  await model.release();
}

/** A keystroke at the end, in the middle and at the start of documents, beside reading them afresh. */
async function patching(model: TextModel, source: Uint8Array): Promise<void> {
  console.log("| document | place | bytes run | ms, median | ms, 90 % | edit alone, ms | fresh run, ms | ratio |");
  console.log("|---|---|---:|---:|---:|---:|---:|---:|");
  for (const size of SIZES) {
    const buffer = new PatchedBuffer(repeated(source, size), model.patching, model.patcher);
    const start = performance.now();
    await buffer.settle();
    const fresh = performance.now() - start;
    const places = { end: size, middle: size / 2, start: 0, "a new place": size / 4 };
    for (const [place, from] of Object.entries(places)) {
      const ms: number[] = [];
      const editMs: number[] = [];
      let run = 0;
      for (let key = 0; key <= KEYS; key++) {
        const at = place === "a new place" ? (from + key * 7919) % size : from + key;
        const before = buffer.counters.bytesRun;
        const start = performance.now();
        buffer.edit({ start: at, deleted: 0, inserted: Uint8Array.of(97 + (key % 26)) });
        const edited = performance.now() - start;
        await buffer.settle();
        if (key === 0) continue;
        ms.push(performance.now() - start);
        editMs.push(edited);
        run = Math.max(run, buffer.counters.bytesRun - before);
      }
      const cells = [size, place, run, quantile(ms, 0.5), quantile(ms, 0.9), quantile(editMs, 0.5), fresh];
      const ratio = `${((100 * quantile(ms, 0.5)) / fresh).toPrecision(2)} %`;
      console.log(`| ${cells.map((cell) => (typeof cell === "number" ? shown(cell) : cell)).join(" | ")} | ${ratio} |`);
    }
  }
}

/** Share of requests that find most of their context read, with the windows and kept texts of the server and no model. */
function reuse(texts: string[]): void {
  const kept = new KeptSequences(() => new CountedText());
  const shares: number[] = [];
  const byAction = new Map<string, number[]>();
  for (const { action, context } of new TypingTrace(texts, 1).requests(4000)) {
    const ids = encode(context);
    const { sequence, prompt, reused } = kept.take(ids);
    sequence.append(prompt);
    const share = reused / ids.length;
    shares.push(share);
    byAction.set(action, [...(byAction.get(action) ?? []), share]);
  }
  const over = (list: number[]) =>
    `${((100 * list.filter((share) => share > 0.95).length) / list.length).toFixed(1)} %`;
  console.log(`requests that reuse over 95 % of the context: ${over(shares)} of ${shares.length}`);
  console.log(
    `context bytes reused: ${((100 * shares.reduce((a, b) => a + b)) / shares.length).toFixed(1)} % on average`,
  );
  for (const [action, list] of byAction) console.log(`  ${action}: ${over(list)} of ${list.length}`);
}

/** Memory along a trace of edits; the document's patches follow every eighth, every 40th is followed by a request. */
async function memory(model: TextModel, source: Uint8Array, edits: number): Promise<void> {
  // A model without an entropy model still has words to cut.
  const rule = model.patcher === null ? { ...model.patching, mode: "space" as const } : model.patching;
  const buffer = new PatchedBuffer(repeated(source, 50_000), rule, model.patcher);
  await buffer.settle();
  const kept = new KeptSequences(() => model.createSequence());
  const random = createRandom(7);
  console.log(
    "| edits | heap MiB | arrays MiB | resident MiB | document kB | kept texts | kept MiB (at most %d) | shared MiB |",
    KEPT_BYTES / 2 ** 20,
  );
  console.log("|---:|---:|---:|---:|---:|---:|---:|---:|");
  let cursor = 1000;
  for (let edit = 1; edit <= edits; edit++) {
    if (random() < 0.01) cursor = Math.floor(random() * (buffer.length - 2000)) + 1000;
    if (random() < 0.5) {
      buffer.edit({ start: cursor, deleted: 0, inserted: Uint8Array.of(97 + Math.floor(random() * 26)) });
      cursor++;
    } else {
      buffer.edit({ start: cursor - 1, deleted: 1, inserted: new Uint8Array() });
      cursor--;
    }
    if (edit % 8 === 0) await buffer.settle();
    if (edit % 40 === 0) {
      const { sequence, prompt } = kept.take(encode(buffer.bytes(Math.max(0, cursor - 400), cursor)));
      await sequence.append(prompt);
    }
    // An hour has 50,000 edits, a minute the 60th part.
    if (edit === Math.round(edits / 60) || edit % (edits / 10) === 0) report(edit);
  }
  function report(edit: number): void {
    globalThis.gc?.();
    const { heapUsed, arrayBuffers, rss } = process.memoryUsage();
    const mib = (bytes: number) => (bytes / 2 ** 20).toFixed(1);
    const row = [edit, mib(heapUsed), mib(arrayBuffers), mib(rss), (buffer.byteLength / 1000).toFixed(0), kept.count];
    console.log(`| ${[...row, mib(kept.byteLength), mib(model.sharedBytes)].join(" | ")} |`);
  }
}

function repeated(source: Uint8Array, size: number): Uint8Array {
  const text = new Uint8Array(size);
  for (let at = 0; at < size; at += source.length) text.set(source.subarray(0, Math.min(source.length, size - at)), at);
  return text;
}

function quantile(values: number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

function shown(value: number): string {
  return Number.isInteger(value) ? value.toLocaleString("en") : value.toPrecision(3);
}

main();
