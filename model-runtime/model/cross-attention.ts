/**
 * Cross-attention between patch vectors and byte states as graph nodes (blt-spec sections 5.3 and 7):
 * no rotary embedding, result 2q + W_o attention, which byte sees which patch told by a mask.
 *
 * Shapes: Q queries, B keys, E width, H query heads, K key/value heads, G = H / K, D head width.
 */
import type { LocalConfig } from "../checkpoint/config";
import type { Value } from "../graph/graph";
import { type GraphContext, linear } from "./linear";
import { rmsNorm } from "./transformer";

/**
 * @param queries [Q, E]
 * @param keys [B, K * D]
 * @param values [B, K * D]
 * @param mask [Q, B] added to the scores
 * @returns [Q, E]
 */
export function crossAttention(
  context: GraphContext,
  name: string,
  config: LocalConfig,
  queries: Value,
  keys: Value,
  values: Value,
  mask: Value,
): Value {
  const { graph } = context;
  const { crossAttentionHeads: heads, crossAttentionKvHeads: kvHeads, hiddenSize } = config;
  const headDim = hiddenSize / heads;
  const groups = heads / kvHeads;
  const normed = rmsNorm(context, queries, `${name}.q_norm`, config.normEps);
  const projected = linear(context, normed, `${name}.q_proj`);
  const byHead = (x: Value, shape: number[]) => {
    const split = graph.node("Reshape", [x, graph.int64(shape)], [x.shape[0], ...shape.slice(1)]);
    const perm = [1, 2, 0, 3];
    return graph.node(
      "Transpose",
      [split],
      perm.map((axis) => split.shape[axis]),
      { attributes: { perm } },
    );
  };
  const queriesByHead = byHead(projected, [-1, kvHeads, groups, headDim]);
  const scores = graph.node(
    "FusedMatMul",
    [queriesByHead, byHead(keys, [-1, kvHeads, 1, headDim])],
    [kvHeads, groups, "Q", "B"],
    { domain: "com.microsoft", attributes: { alpha: { float: 1 / Math.sqrt(headDim) }, transB: 1 } },
  );
  const weights = graph.node("Softmax", [graph.node("Add", [scores, mask], scores.shape)], scores.shape, {
    attributes: { axis: -1 },
  });
  const attended = graph.node("MatMul", [weights, byHead(values, [-1, kvHeads, 1, headDim])], queriesByHead.shape);
  const ungrouped = graph.node("Transpose", [attended], ["Q", kvHeads, groups, headDim], {
    attributes: { perm: [2, 0, 1, 3] },
  });
  const joined = graph.node("Reshape", [ungrouped, graph.int64([-1, hiddenSize])], ["Q", hiddenSize]);
  const residual = graph.node("Add", [queries, queries], queries.shape);
  return graph.node("Add", [residual, linear(context, joined, `${name}.o_proj`)], queries.shape);
}

/** Keys and values of states that are looked at: [B, E] -> two of [B, K * D]. */
export function crossKeysAndValues(
  context: GraphContext,
  name: string,
  config: LocalConfig,
  states: Value,
): [Value, Value] {
  const width = config.crossAttentionKvHeads * (config.hiddenSize / config.crossAttentionHeads);
  const normed = rmsNorm(context, states, `${name}.k_norm`, config.normEps);
  const [keys, values] = context.graph.nodes(
    "Split",
    [linear(context, normed, `${name}.k_proj`, `${name}.v_proj`), context.graph.int64([width, width])],
    [
      [states.shape[0], width],
      [states.shape[0], width],
    ],
    { attributes: { axis: 1 } },
  );
  return [keys, values];
}

/** Names of the cross-attention layers a local network uses, by the layer of the stack they belong to. */
export function crossLayerNames(prefix: string, config: LocalConfig): string[] {
  const count = config.crossAttentionAllLayers ? config.layers : 1;
  return Array.from({ length: count }, (_, layer) => `${prefix}.cross_attn_layers.${layer}`);
}
