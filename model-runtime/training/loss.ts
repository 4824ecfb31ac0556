/** Cross-entropy as graph nodes. Shapes: N rows, S candidates. */
import type { Graph, Value } from "../graph/graph";

export interface CrossEntropy {
  /** One number: the sum of weight * (smoothed) -log p, in nats. */
  loss: Value;
  /** [N, 1] log p of the target, nats. */
  picked: Value;
  /** [N, 1] log p of the most probable candidate. */
  best: Value;
}

/**
 * @param logits [N, S]
 * @param targets int64 [N, 1]; a row without a target has weight 0 and any target
 * @param weights [N, 1]
 * @param smoothing share of the target's mass that is spread over all candidates (label smoothing, arXiv 1512.00567)
 */
export function crossEntropy(
  graph: Graph,
  logits: Value,
  targets: Value,
  weights: Value,
  smoothing: number,
): CrossEntropy {
  const column = [logits.shape[0], 1];
  const logProbs = graph.node("LogSoftmax", [logits], logits.shape, { attributes: { axis: -1 } });
  const picked = graph.node("GatherElements", [logProbs, targets], column, { attributes: { axis: 1 } });
  const best = graph.node("ReduceMax", [logProbs, graph.int64([1])], column);
  let scored = picked;
  if (smoothing > 0) {
    const spread = graph.node("ReduceMean", [logProbs, graph.int64([1])], column);
    const scaled = (value: Value, factor: number) => graph.node("Mul", [value, graph.float32([factor], [])], column);
    scored = graph.node("Add", [scaled(picked, 1 - smoothing), scaled(spread, smoothing)], column);
  }
  const weighted = graph.node("Mul", [graph.node("Neg", [scored], column), weights], column);
  return { loss: graph.node("ReduceSum", [weighted], [], { attributes: { keepdims: 0 } }), picked, best };
}
