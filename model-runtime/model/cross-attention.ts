/**
 * Cross-attention between patch vectors and byte states as graph nodes (blt-spec sections 5.3 and 7):
 * no rotary embedding, result 2q + W_o attention, which byte sees which patch told by a mask.
 *
 * Shapes: Q queries, B keys, E width, K key/value heads, D head width.
 */
import type { LocalConfig } from "../checkpoint/config";
import type { Value } from "../graph/graph";
import { type GraphContext, linear } from "./linear";
import { attention, rmsNorm, splitHeads } from "./transformer";

/**
 * @param queries [Q, E]
 * @param keys [1, K, B, D]
 * @param values [1, K, B, D]
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
  const normed = rmsNorm(context, queries, `${name}.q_norm`, config.normEps);
  const projected = splitHeads(graph, linear(context, normed, `${name}.q_proj`), heads, headDim);
  const attended = attention(graph, heads, kvHeads, headDim, projected, [keys], [values], mask);
  const residual = graph.node("Add", [queries, queries], queries.shape);
  return graph.node("Add", [residual, linear(context, attended, `${name}.o_proj`)], queries.shape);
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
