/**
 * What device `auto` is: a GPU that works is not always the faster one. A step of a small network is hundreds of small
 * kernels, whose launching takes longer than a processor takes for the work (docs/performance-gpu.md). So the first layers
 * of the latent transformer are timed on both.
 */
import type { Weights } from "../checkpoint/checkpoint";
import type { TransformerConfig } from "../checkpoint/config";
import type { Device, ResolvedDevice } from "../device";
import { Graph } from "../graph/graph";
import { nativeKernels } from "../kernels/native";
import { type DeviceChoice, resolveDevice, type SessionOptions } from "../session";
import { CausalNetwork } from "./causal-network";
import { layerRows, rowMemory } from "./row-networks";
import { pack, stackInputs, transformerStack } from "./transformer";

/** Layers that are timed; what a run costs beyond its layers counts for a part of them only. */
const TIMED_LAYERS = 4;

type Source = Weights & { config: { latent: TransformerConfig } };

/** `resolveDevice` for a checkpoint: where `auto` finds a GPU, it is used only if it is the faster one here. */
export async function resolveDeviceFor(
  checkpoint: Source,
  asked: Device,
  threads?: number,
  { resolve, time }: Measures = { resolve: resolveDevice, time: latentCost },
): Promise<DeviceChoice> {
  const choice = await resolve(asked);
  if (asked !== "auto" || choice.device === "cpu") return choice;
  const [cpu, gpu] = [
    await time(checkpoint, { device: "cpu", threads }),
    await time(checkpoint, { device: choice.device, threads }),
  ];
  return gpu < cpu ? choice : { device: "cpu", notice: null };
}

interface Measures {
  resolve: (asked: Device) => Promise<DeviceChoice>;
  time: (checkpoint: Source, options: SessionOptions & { device: ResolvedDevice }) => Promise<number>;
}

/** Milliseconds of one row and of an eighth of 64 rows through the latent transformer's first layers. */
export async function latentCost(checkpoint: Source, options: SessionOptions): Promise<number> {
  const config = { ...checkpoint.config.latent, layers: Math.min(TIMED_LAYERS, checkpoint.config.latent.layers) };
  const int8Kernel = options.device === "cpu" ? "blocked" : "float32";
  const context = { checkpoint, int8Kernel, graph: new Graph("latent-timing") } as const;
  const embedding = context.graph.input("embedding", ["N", config.hiddenSize]);
  const inputs = stackInputs(context.graph, config);
  const stack = transformerStack(context, "model.global_transformer", config, inputs, embedding);
  pack(context.graph, [stack.hidden], stack.newKeysAndValues);
  // As the CPU runs them: by the native kernels, where there are some for such weights.
  const memory = nativeKernels() === null ? null : rowMemory(checkpoint, options);
  let network: CausalNetwork | null = null;
  try {
    network = await CausalNetwork.load(() => context.graph, config, options, layerRows(checkpoint, config, memory));
    return (await timeRows(network, 1, 4)) + (await timeRows(network, 64, 3)) / 8;
  } finally {
    await network?.release();
    await memory?.team.release();
  }
}

/** Milliseconds of the quickest of some runs of so many rows. */
async function timeRows(network: CausalNetwork, rows: number, runs: number): Promise<number> {
  const { hiddenSize } = network.config;
  const data = Float32Array.from({ length: rows * hiddenSize }, (_, i) => Math.sin(i));
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < runs; i++) {
    const start = performance.now();
    await network.run(network.createCache(), rows, { embedding: { data, shape: [rows, hiddenSize] } }, null);
    best = Math.min(best, performance.now() - start);
  }
  return best;
}
