/** The latent transformer's network, compiled from 4-bit blocks as they lie, or from int8 rows that are made of them. */
import type { Weights } from "../checkpoint/checkpoint";
import type { TransformerConfig } from "../checkpoint/config";
import type { Graph } from "../graph/graph";
import { CausalNetwork } from "./causal-network";
import { saturates } from "./int8-kernel";
import { canBeRows, discard, makeLatentRows } from "./latent-rows";
import type { GraphContext } from "./linear";
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

/** @param few the same network for a few rows, which takes the adapter as well */
export async function loadLatent<C extends Weights>(
  source: LatentSource<C>,
  lowRank: LowRank | null,
  few: RowNetwork | null,
  options: LoadOptions,
): Promise<CausalNetwork> {
  const { checkpoint, config, int8Kernel, graph, isTurned, others } = source;
  const adapter = lowRank === null ? undefined : appliedAdapter(lowRank, checkpoint);
  const wantsRows =
    options.rows && options.device === "cpu" && int8Kernel !== "float32" && canBeRows(checkpoint, config);
  const form = { isNarrow: wantsRows ? await saturates(options) : false, isTurned };
  const made = wantsRows ? makeLatentRows(checkpoint, config, form, others) : null;
  const weights = made && { checkpoint: { ...checkpoint, ...made.weights }, rows: made.rows, joinsPast: true };
  const context = { checkpoint, int8Kernel, adapter, ...weights };
  const network = await CausalNetwork.load(graph(context), config, { ...options, file: made?.file }, few);
  if (made) discard(made.file.data);
  few?.useAdapter(lowRank);
  return network;
}
