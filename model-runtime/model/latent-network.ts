/** The latent transformer's network, compiled from 4-bit blocks as they lie, or from int8 rows that are made of them. */
import type { Dtype, Weights } from "../checkpoint/checkpoint";
import type { TransformerConfig } from "../checkpoint/config";
import type { Graph } from "../graph/graph";
import { CausalNetwork } from "./causal-network";
import { saturates } from "./int8-kernel";
import { canBeRows, discard, makeLatentRows } from "./latent-rows";
import type { GraphContext, Int8Kernel } from "./linear";
import type { LoadOptions } from "./load-options";
import { appliedAdapter, type LowRank } from "./low-rank";
import type { RowNetwork } from "./row-network";

/** What the network is compiled from. */
export interface LatentSource<C extends Weights> extends Omit<GraphContext, "graph" | "checkpoint"> {
  checkpoint: C;
  config: TransformerConfig;
  /** Builds the graph from weights in their places. */
  graph: (source: { checkpoint: C } & Omit<GraphContext, "graph" | "checkpoint">) => Graph;
  /** Whether the stream has a basis of its own, in which no channel stands out. */
  isTurned: boolean;
  /** Tensors that the graph reads besides the layers', by the beginnings of their names. */
  others: readonly string[];
}

/**
 * Compiles the network. Rows are made where they are wanted and the row kernels run only what comes by itself: a single row would be the slower one
 * in them. Where they cannot be made after all, blocks serve as well.
 * @param rowNetwork the same network by the row kernels; it is given the adapter by who calls
 */
export async function loadLatent<C extends Weights>(
  source: LatentSource<C>,
  lowRank: LowRank | null,
  rowNetwork: RowNetwork | null,
  options: LoadOptions,
): Promise<CausalNetwork> {
  const { checkpoint, config, int8Kernel, graph } = source;
  const adapter = lowRank === null ? undefined : appliedAdapter(lowRank, checkpoint);
  const byteKeys = keepsBytes(checkpoint, int8Kernel);
  if (
    options.int8Rows &&
    rowNetwork !== null &&
    !rowNetwork.runsAll &&
    int8Kernel !== "float32" &&
    canBeRows(checkpoint, config)
  ) {
    try {
      const network = await loadRows(source, { adapter, byteKeys }, rowNetwork, options);
      if (network !== null) return network;
    } catch (error) {
      console.error(`The latent transformer's longer runs go through 4-bit blocks: ${(error as Error).message}`);
    }
  }
  return CausalNetwork.load(() => graph({ checkpoint, int8Kernel, adapter, byteKeys }), config, options, rowNetwork);
}

/** Whether keys and values are rounded (byte-keys.ts): where weights are, and products of activations that are rounded as well. */
function keepsBytes({ tensors }: Weights, int8Kernel: Int8Kernel): boolean {
  const isQuantised = ([name, { dtype }]: [string, { dtype: Dtype }]) =>
    name.startsWith("model.global_transformer.layers.") && (dtype === "I8" || dtype === "U8");
  return int8Kernel !== "float32" && [...tensors].some(isQuantised);
}

async function loadRows<C extends Weights>(
  { checkpoint, config, int8Kernel, graph, isTurned, others }: LatentSource<C>,
  also: Pick<GraphContext, "adapter" | "byteKeys">,
  rowNetwork: RowNetwork,
  options: LoadOptions,
): Promise<CausalNetwork | null> {
  const made = makeLatentRows(checkpoint, config, { isNarrow: await saturates(options), isTurned }, others);
  if (made === null) return null;
  const { weights, rows, file } = made;
  const source = { checkpoint: { ...checkpoint, ...weights }, int8Kernel, ...also, rows, joinsPast: true };
  try {
    return await CausalNetwork.load(() => graph(source), config, { ...options, file }, rowNetwork);
  } finally {
    discard(file.data);
  }
}
