/** Our engine: `node engine.cjs CHECKPOINT THREADS`. Every patch has four bytes, and the patcher runs all the same. */
import { openCheckpoint } from "../../../model-runtime/checkpoint/open-checkpoint";
import { BOS, encode } from "../../../model-runtime/ids";
import { Blt } from "../../../model-runtime/model/blt";
import type { CausalNetwork } from "../../../model-runtime/model/causal-network";
import type { BltSequence } from "../../../model-runtime/model/sequence";
import type { Completion, NetworkRun, Task } from "../lib/protocol";
import { Phases, serve } from "../lib/serve";

async function main([directory, threads]: string[]): Promise<void> {
  const phases = new Phases();
  phases.end("node and library");
  const model = await Blt.load(openCheckpoint(directory), { device: "cpu", threads: Number(threads) });
  phases.end("load");
  const runs = recordRuns(model);
  // No entropy reaches the threshold, so that only the longest length allowed cuts.
  const patching = { ...model.config.patching, threshold: 1e9, maxPatchLength: 4 };
  await model.createSequence(patching).append([BOS]);
  phases.end("first byte");

  const kernel = model.int8Kernel ? `, kernel ${model.int8Kernel}` : "";
  const settings = `${threads} threads, onnxruntime-node${kernel}`;
  await serve({ settings, phases: phases.ms }, async (task) => {
    const sequence = model.createSequence(patching);
    const start = performance.now();
    await sequence.append(encode(Buffer.from(task.prompt)));
    const prefillMs = performance.now() - start;
    const prefill = runs.splice(0);
    const decoded = await decode(sequence, task);
    return { prefillMs, ...decoded, runs: { prefill, decode: runs.splice(0) } };
  });
}

/** Byte by byte, as generation does: the likeliest is looked for, the real one goes on. */
async function decode(sequence: BltSequence, { continuation }: Task): Promise<Omit<Completion, "prefillMs">> {
  const ids = encode(Buffer.from(continuation)).subarray(1);
  const start = performance.now();
  for (const id of ids) greatest(await sequence.append([id]));
  return { decodeMs: performance.now() - start, decodedBytes: ids.length };
}

function greatest(logits: Float32Array): number {
  let best = 0;
  for (let id = 1; id < logits.length; id++) if (logits[id] > logits[best]) best = id;
  return best;
}

/** Notes each run of the model's networks from now on. */
function recordRuns(model: Blt): NetworkRun[] {
  const runs: NetworkRun[] = [];
  for (const [name, network] of Object.entries<CausalNetwork | null>({ ...model.networks })) {
    if (network === null) continue;
    const run = network.run.bind(network);
    network.run = async (cache, rows, ...rest) => {
      const start = performance.now();
      const result = await run(cache, rows, ...rest);
      runs.push({ network: name, rows, ms: performance.now() - start });
      return result;
    };
  }
  return runs;
}

main(process.argv.slice(2));
