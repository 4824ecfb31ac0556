/**
 * The draft layer of a lexicon model as a graph: one layer of the latent's width that foresees the latent's states
 * (pretraining/draft_layer.py).
 *
 * Shapes: N rows of a run, E width, I layers of the latent that it sees, V pieces that can be proposed, K proposals.
 */
import { drafterPrefix, type LexiconCheckpoint } from "../checkpoint/open-lexicon";
import { Graph, type Value } from "../graph/graph";
import { type GraphContext, linear } from "./linear";
import { pieceLogits } from "./piece-logits";
import { pack, rmsNorm, stackInputs, transformerStack } from "./transformer";

/** Proposals that leave a run. */
export const PROPOSALS = 4;

/**
 * `states` [N, E] before each piece, its `embedding` [N, E] and, where the layer sees layers of the latent, their outputs before each piece
 * `inner` [N, I E], zeros where they are not known -> of the last row the likeliest next pieces: chances [K] and places among the V [K], and
 * the state foreseen after it [E]; keys and values.
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
  const normed = (value: Value, name: string) => rmsNorm(context, value, `${prefix}.${name}`, config.normEps);
  const piece = normed(graph.input("embedding", ["N", width]), "piece_norm");
  let state = normed(graph.input("states", ["N", width]), "state_norm");
  const count = config.innerLayers.length;
  if (count > 0) {
    const seen = graph.input("inner", ["N", count * width]);
    const parts = config.innerLayers.map((_, i) => {
      const columns = [graph.int64([i * width]), graph.int64([(i + 1) * width]), graph.int64([1])];
      return normed(graph.node("Slice", [seen, ...columns], ["N", width]), `inner_norms.${i}`);
    });
    const inner = graph.node("Concat", parts, ["N", count * width], { attributes: { axis: 1 } });
    const added = linear(context, inner, `${prefix}.inner_proj`);
    state = graph.node("Add", [state, added], state.shape);
  }
  const inputs = stackInputs(graph, config);
  const both = graph.node("Concat", [state, piece], ["N", 2 * width], { attributes: { axis: 1 } });
  const first = linear(context, both, `${prefix}.input_proj`);
  const { hidden, newKeysAndValues } = transformerStack(context, prefix, config, inputs, first);
  const states = rmsNorm(context, hidden, `${prefix}.norm`, config.normEps);
  const last = graph.node("Gather", [states, graph.int64([-1])], [1, width], { attributes: { axis: 0 } });
  const logits = pieceLogits(context, last, pieces);
  const proposed = Math.min(PROPOSALS, pieces.length);
  const chances = graph.node("Softmax", [logits], logits.shape, { attributes: { axis: -1 } });
  const [likeliest, places] = graph.nodes(
    "TopK",
    [chances, graph.int64([proposed])],
    [
      [1, proposed],
      [1, proposed],
    ],
  );
  const numbers = graph.node("Cast", [places], [1, proposed], { attributes: { to: 1 } });
  pack(graph, [likeliest, numbers, last], newKeysAndValues);
  return graph;
}
