/**
 * The default model's patcher alone, by kernel: milliseconds a byte typed, and a byte of a whole text in chunks, beside the
 * fallback made of it, in the same run.
 *
 *     npx tsx test/bench/patcher.ts
 */
import { readFileSync } from "node:fs";
import { openLexiconCheckpoint } from "../../model-runtime/checkpoint/open-lexicon";
import { readWeight } from "../../model-runtime/checkpoint/tensor-data";
import { encode } from "../../model-runtime/ids";
import { withCounts } from "../../model-runtime/lexicon/byte-model";
import { CausalNetwork } from "../../model-runtime/model/causal-network";
import { patcherOf } from "../../model-runtime/model/entropy-model";
import { exactRowsKernel } from "../../model-runtime/model/int8-kernel";
import type { Int8Kernel } from "../../model-runtime/model/linear";
import { patcherGraph } from "../../model-runtime/model/networks";
import { patcherByteModel } from "../../model-runtime/model/patcher-byte-model";
import { patcherRows, rowMemory } from "../../model-runtime/model/row-networks";

const options = { device: "cpu", threads: 2 } as const;
const TYPED = 400;
const CHUNKED = 16_384;

async function main() {
  for (const int8Kernel of [await exactRowsKernel(options), "blocked", "float32"] as const) await measure(int8Kernel);
}

async function measure(int8Kernel: Int8Kernel) {
  const checkpoint = openLexiconCheckpoint("models/default");
  const { patcher: config, patching } = checkpoint.config;
  const source = { checkpoint, int8Kernel };
  const memory = rowMemory(checkpoint, options);
  const few = patcherRows(source, memory);
  const graph = () => patcherGraph({ ...source, joinsPast: few !== null });
  const network = await CausalNetwork.load(graph, config!, options, few);
  const table = readWeight(checkpoint, "model.patcher.embed_tokens.weight");
  const text = readFileSync("model-runtime/model/sequence.ts").subarray(0, 8192);

  const rows: [string, number][] = [];
  for (const [name, model] of [
    ["patcher, a byte typed", patcherByteModel(network, table)],
    ["patcher and counts, a byte typed", withCounts(patcherByteModel(network, table))],
  ] as const) {
    const from = text.length - TYPED;
    await model.after(text, from, from);
    const times: number[] = [];
    for (let length = from + 1; length <= text.length; length++) {
      const start = performance.now();
      await model.after(text.subarray(0, length), length, length);
      times.push(performance.now() - start);
    }
    rows.push([name, times.sort((a, b) => a - b)[TYPED / 2]]);
  }
  const long = encode(Buffer.concat(new Array(CHUNKED / text.length).fill(text)));
  const stream = patcherOf(network, table, { separatesDocuments: true }).begin(patching);
  const start = performance.now();
  await stream.next(long);
  rows.push(["entropies of a long text, a byte", (performance.now() - start) / long.length]);
  for (const [name, ms] of rows) console.log(`${int8Kernel}, ${name}: ${ms.toFixed(4)} ms`);
  await network.release();
  await memory?.team.release();
}

void main();
