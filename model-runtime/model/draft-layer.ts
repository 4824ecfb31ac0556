/**
 * The draft layer of a lexicon model as a graph: one layer of the latent's width that foresees the latent's states
 * (pretraining/draft_layer.py).
 *
 * Shapes: N rows of a run, E width, V pieces that can be proposed, K proposals.
 */
import { drafterPrefix, type LexiconCheckpoint } from "../checkpoint/open-lexicon";
import { Graph } from "../graph/graph";
import { type GraphContext, linear } from "./linear";
import { pieceLogits } from "./piece-logits";
import { pack, rmsNorm, stackInputs, transformerStack } from "./transformer";

/** Proposals that leave a run: what the first bytes of the likeliest one may be confused with is among them. */
export const PROPOSALS = 16;

/**
 * `states` [N, E] before each piece and its `embedding` [N, E] -> of the last row the likeliest next pieces: chances [K] and
 * places among the V [K]; states foreseen after each piece [N, E]; keys and values.
 * @param pieces [V] pieces that can be proposed
 */
export function draftLayerGraph(
  source: Omit<GraphContext, "graph"> & { checkpoint: LexiconCheckpoint },
  pieces: ArrayLike<number>,
): Graph {
  const context = { ...source, graph: new Graph("drafter") };
  const { graph } = context;
  const config = source.checkpoint.config.drafter!;
  const [prefix, width] = [drafterPrefix.replace(/\.$/, ""), config.hiddenSize];
  const normed = [
    rmsNorm(context, graph.input("states", ["N", width]), `${prefix}.state_norm`, config.normEps),
    rmsNorm(context, graph.input("embedding", ["N", width]), `${prefix}.piece_norm`, config.normEps),
  ];
  const inputs = stackInputs(graph, config);
  const both = graph.node("Concat", normed, ["N", 2 * width], { attributes: { axis: 1 } });
  const first = linear(context, both, `${prefix}.input_proj`);
  const { hidden, newKeysAndValues } = transformerStack(context, prefix, config, inputs, first);
  const states = rmsNorm(context, hidden, `${prefix}.norm`, config.normEps);
  const last = graph.node("Gather", [states, graph.int64([-1])], [1, width], { attributes: { axis: 0 } });
  const logits = pieceLogits(context, last, pieces);
  const count = Math.min(PROPOSALS, pieces.length);
  const chances = graph.node("Softmax", [logits], logits.shape, { attributes: { axis: -1 } });
  const [likeliest, places] = graph.nodes(
    "TopK",
    [chances, graph.int64([count])],
    [
      [1, count],
      [1, count],
    ],
  );
  const numbers = graph.node("Cast", [places], [1, count], { attributes: { to: 1 } });
  pack(graph, [likeliest, numbers, graph.node("Reshape", [states, graph.int64([1, -1])], [1, "?"])], newKeysAndValues);
  return graph;
}
