/**
 * Our engine: `node engine.cjs CHECKPOINT THREADS [DEVICE] [steps|loop|wasm] [INT8-KERNEL]`. Every patch has four bytes, and the
 * patcher runs all the same. With `wasm` it does without native kernels, as where there are none: the latent transformer's longer runs
 * go through int8 rows then.
 */
import { openCheckpoint } from "../../../model-runtime/checkpoint/open-checkpoint";
import type { ResolvedDevice } from "../../../model-runtime/device";
import { BOS, BYTE_OFFSET, encode } from "../../../model-runtime/ids";
import { Blt } from "../../../model-runtime/model/blt";
import type { CausalNetwork } from "../../../model-runtime/model/causal-network";
import type { KvCache } from "../../../model-runtime/model/kv-cache";
import type { Int8Kernel } from "../../../model-runtime/model/linear";
import type { TextState } from "../../../model-runtime/model/text-state";
import type { Completion, NetworkRun, Task } from "../lib/protocol";
import { Phases, serve } from "../lib/serve";

async function main([directory, threads, device = "cpu", way = "steps", kernel]: string[]): Promise<void> {
  const phases = new Phases();
  phases.end("node and library");
  const model = await Blt.load(openCheckpoint(directory), {
    device: device as ResolvedDevice,
    threads: Number(threads),
    int8Kernel: kernel as Int8Kernel | undefined,
    ...(way === "wasm" ? { nativeKernels: false, int8Rows: true } : {}),
  });
  phases.end("load");
  const runs = recordRuns(model);
  // No entropy reaches the threshold, so that only the longest length allowed cuts.
  const patching = { ...model.config.patching, threshold: 1e9, maxPatchLength: 4 };
  await model.createSequence(patching).append([BOS]);
  phases.end("first byte");

  const used = model.kernels ? `, kernels ${model.kernels}` : "";
  const settings = `${device === "cpu" ? `${threads} threads` : `${device}, ${way}`}, onnxruntime-node${used}${way === "wasm" ? " and WebAssembly, int8 rows for longer runs" : ""}`;
  await serve({ settings, phases: phases.ms }, async (task) => {
    const text = way === "loop" ? model.createText(patching) : model.createSequence(patching);
    const start = performance.now();
    const logits = await text.append(encode(Buffer.from(task.prompt)));
    const prefillMs = performance.now() - start;
    const prefill = runs.splice(0);
    const decoded = way === "loop" ? await writeOn(text, task, logits) : await decode(text, task);
    return { prefillMs, ...decoded, runs: { prefill, decode: runs.splice(0) } };
  });
}

/** Byte by byte, as generation does: the likeliest is looked for, the real one goes on. */
async function decode(text: TextState, { continuation }: Task): Promise<Omit<Completion, "prefillMs">> {
  const ids = encode(Buffer.from(continuation)).subarray(1);
  const start = performance.now();
  for (const id of ids) greatest(await text.append([id]));
  return { decodeMs: performance.now() - start, decodedBytes: ids.length };
}

/** As many bytes, the likeliest ones: what a loop on the device guesses. */
async function writeOn(
  text: TextState,
  { continuation }: Task,
  logits: Float32Array,
): Promise<Omit<Completion, "prefillMs">> {
  const decodedBytes = continuation.length;
  const start = performance.now();
  for (let i = 0; i < decodedBytes; i++) logits = await text.append([greatest(logits)]);
  return { decodeMs: performance.now() - start, decodedBytes };
}

function greatest(logits: Float32Array): number {
  let best = BYTE_OFFSET;
  for (let id = BYTE_OFFSET + 1; id < logits.length; id++) if (logits[id] > logits[best]) best = id;
  return best;
}

/** Notes each run of the model's networks from now on. */
function recordRuns(model: Blt): NetworkRun[] {
  const runs: NetworkRun[] = [];
  for (const [name, network] of Object.entries<CausalNetwork | null>({ ...model.networks })) {
    if (network === null) continue;
    const run = network.run.bind(network);
    network.run = async (cache, rows, inputs, floors, signal, wanted = 0) => {
      const products = productRows(network, cache, rows, wanted);
      const start = performance.now();
      const result = await run(cache, rows, inputs, floors, signal, wanted);
      runs.push({ network: name, rows, products, ms: performance.now() - start });
      return result;
    };
  }
  return runs;
}

/** Rows whose products a run makes in all layers: of rows that only feed a cache some layers are left out. */
function productRows({ rowNetwork, config }: CausalNetwork, cache: KvCache, rows: number, wanted: number): number {
  if (!rowNetwork?.runsAll) return rows;
  let products = 0;
  for (let from = 0; from < rows; from += rowNetwork.mostRows) {
    const count = Math.min(rowNetwork.mostRows, rows - from);
    products += (count * cache.layersSeen(cache.length + from + count - 1, wanted)) / config.layers;
  }
  return Math.round(products);
}

main(process.argv.slice(2));
