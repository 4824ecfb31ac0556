/** The lexicon's readout as a node of a graph: logits of pieces from states. */
import { pieceEmbeddingName } from "../checkpoint/open-lexicon";
import { scaleName } from "../checkpoint/tensor-data";
import type { Value } from "../graph/graph";
import { floatWeight, type GraphContext, int8Linear } from "./linear";

/**
 * Logits [M, P] of some pieces, in their order. The table's rows are put into that order when the session is made, which is
 * cheaper than to choose among the logits in each run.
 * @param states [M, E] as the readout takes them
 * @param pieces [P]
 */
export function pieceLogits(context: GraphContext, states: Value, pieces: ArrayLike<number>): Value {
  const { graph, checkpoint } = context;
  const order = graph.int64(Array.from(pieces));
  const rowsOf = (value: Value) =>
    graph.node("Gather", [value, order], [pieces.length, ...value.shape.slice(1)], { attributes: { axis: 0 } });
  const table = checkpoint.tensors.get(pieceEmbeddingName)!;
  if (table.dtype === "I8") {
    const scales = rowsOf(graph.weight(checkpoint.tensors.get(scaleName(pieceEmbeddingName))!));
    return int8Linear(graph, states, rowsOf(graph.weight(table)), scales, context.int8Kernel);
  }
  const rows = rowsOf(floatWeight(context, pieceEmbeddingName));
  return graph.node("Gemm", [states, rows], [states.shape[0], pieces.length], { attributes: { transB: 1 } });
}
