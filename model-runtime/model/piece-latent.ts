/**
 * The layers of the latent transformer over pieces as a graph (docs/lexicon.md, section 4).
 *
 * Shapes: N new positions, E width, I layers that a draft layer sees.
 */
import type { LexiconConfig } from "../checkpoint/lexicon-config";
import { type LexiconCheckpoint, readoutMatrixName } from "../checkpoint/open-lexicon";
import type { RowReader } from "../checkpoint/row-reader";
import { Graph, type Value } from "../graph/graph";
import type { CausalNetwork } from "./causal-network";
import type { Foresight } from "./foresight";
import { type GraphContext, linear } from "./linear";
import type { Readout } from "./readout";
import { pack, rmsNorm, stackInputs, transformerStack } from "./transformer";

interface Source extends Omit<GraphContext, "graph"> {
  checkpoint: LexiconCheckpoint;
}

/** Layers: `embedding` [N, E] -> states [N, E] as the readout takes them, and what a draft layer sees [N, I E]; keys and values. */
export function pieceLatentGraph(source: Source): Graph {
  const context = { ...source, graph: new Graph("latent") };
  const { latent } = source.checkpoint.config;
  const embedding = context.graph.input("embedding", ["N", latent.hiddenSize]);
  const inputs = stackInputs(context.graph, latent);
  const stack = transformerStack(context, "model.global_transformer", latent, inputs, embedding);
  const inner = innerLayers(source.checkpoint.config).map((layer) => stack.layerOutputs[layer]);
  pack(
    context.graph,
    [readoutStates(context, source.checkpoint.config, stack.hidden), ...inner],
    stack.newKeysAndValues,
  );
  return context.graph;
}

/** Layers whose outputs a draft layer sees. */
export function innerLayers({ drafter }: LexiconConfig): readonly number[] {
  return drafter?.innerLayers ?? [];
}

/** What the rows of the readout are multiplied with: the last layer's output [N, E], normed, through the matrix if there is one. */
export function readoutStates(context: GraphContext, { latent, readoutMatrix }: LexiconConfig, last: Value): Value {
  const normed = rmsNorm(context, last, "model.lexicon.norm", latent.normEps);
  return readoutMatrix ? linear(context, normed, readoutMatrixName) : normed;
}

/** The networks in use: layers, readout, and rows of the embedding table. */
export interface PieceNetworks {
  layers: CausalNetwork;
  readout: Readout;
  embedding: RowReader;
  /** Null without a draft layer. */
  foresight: Foresight | null;
}
