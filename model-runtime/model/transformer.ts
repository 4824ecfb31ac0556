/**
 * A causal transformer stack as graph nodes, over new rows and a key/value cache (blt-spec sections 5.2, 8, 11).
 *
 * Shapes: N new rows, E hidden width, H query heads, K key/value heads, G = H / K, D head width,
 * C slots of the cache (not all in use: the mask hides the others), L layers.
 *
 * The cache is an input and never copied; only the new rows' keys and values leave the graph. Each query head is a
 * product of its own that broadcasts over the key heads: for one row onnxruntime then reads the past in place,
 * where G rows in one product would make it copy the past into panels first (1.6 times slower, docs/performance.md).
 */
import type { TransformerConfig } from "../checkpoint/config";
import type { Graph, Value } from "../graph/graph";
import { floatWeight, type GraphContext, linear } from "./linear";

/** What the rows of one run share in all layers, and the cached past of each layer. */
export interface StackInputs {
  /** [N, D/2] cosine and sine of each new row's rotation. */
  cos: Value;
  sin: Value;
  /** [N, C + N] added to the scores: 0 where visible, very negative where not. */
  mask: Value;
  /** int64 [2]: C and N. */
  pastAndNew: Value;
  /** [K, 1, C, D] a layer. */
  pastKeys: Value[];
  pastValues: Value[];
}

export interface StackOutputs {
  /** [N, E], no final norm. */
  hidden: Value;
  /** Hidden state after each layer, the last one being `hidden`. */
  layerOutputs: Value[];
  /** Per layer the rotated keys and the values of the new rows, [N, K * D] each, keys first. */
  newKeysAndValues: Value[];
}

/** Declares the inputs of a stack in the graph; `KvCache.feeds` fills them by the same names. */
export function stackInputs(graph: Graph, config: TransformerConfig): StackInputs {
  const { kvHeads, headDim, layers } = config;
  const each = (name: string) =>
    Array.from({ length: layers }, (_, layer) => graph.input(`${name}${layer}`, [kvHeads, 1, "C", headDim]));
  return {
    cos: graph.input("cos", ["N", headDim / 2]),
    sin: graph.input("sin", ["N", headDim / 2]),
    mask: graph.input("mask", ["N", "C+N"]),
    pastAndNew: graph.input("pastAndNew", [2], "int64"),
    pastKeys: each("pastKeys"),
    pastValues: each("pastValues"),
  };
}

/**
 * Runs the layers `${prefix}.layers.0 ...`.
 * @param hidden [N, E]
 * @param beforeLayer what happens to the hidden state before each layer (the decoder's cross-attention)
 */
export function transformerStack(
  context: GraphContext,
  prefix: string,
  config: TransformerConfig,
  inputs: StackInputs,
  hidden: Value,
  beforeLayer: (hidden: Value, layer: number) => Value = (value) => value,
): StackOutputs {
  const layerOutputs: Value[] = [];
  const newKeysAndValues: Value[] = [];
  for (let layer = 0; layer < config.layers; layer++) {
    const name = `${prefix}.layers.${layer}`;
    hidden = beforeLayer(hidden, layer);
    const normed = rmsNorm(context, hidden, `${name}.input_layernorm`, config.normEps);
    const attended = selfAttention(context, name, config, inputs, layer, normed, newKeysAndValues);
    hidden = add(context.graph, hidden, attended);
    const fed = swiGlu(
      context,
      name,
      config,
      rmsNorm(context, hidden, `${name}.post_attention_layernorm`, config.normEps),
    );
    hidden = add(context.graph, hidden, fed);
    layerOutputs.push(hidden);
  }
  return { hidden, layerOutputs, newKeysAndValues };
}

/** RMSNorm over the last axis; `name` without `.weight`. */
export function rmsNorm(context: GraphContext, x: Value, name: string, epsilon: number): Value {
  return context.graph.node("SimplifiedLayerNormalization", [x, floatWeight(context, `${name}.weight`)], x.shape, {
    attributes: { axis: -1, epsilon: { float: epsilon }, stash_type: 1 },
  });
}

/** Joins values of N rows into the one packed output of a run: [N, sum of widths]. */
export function pack(graph: Graph, values: Value[]): void {
  const width = values.reduce((sum, { shape }) => sum + (shape[1] as number), 0);
  const packed =
    values.length === 1 ? values[0] : graph.node("Concat", values, ["N", width], { attributes: { axis: 1 } });
  graph.output("packed", packed);
}

function selfAttention(
  context: GraphContext,
  name: string,
  config: TransformerConfig,
  inputs: StackInputs,
  layer: number,
  normed: Value,
  newKeysAndValues: Value[],
): Value {
  const { graph } = context;
  const { heads, kvHeads, headDim } = config;
  const groups = heads / kvHeads;
  const kvWidth = kvHeads * headDim;
  const projected = linear(context, normed, ...["q", "k", "v"].map((p) => `${name}.self_attn.${p}_proj`));
  const [query, key, value] = graph.nodes(
    "Split",
    [projected, graph.int64([heads * headDim, kvWidth, kvWidth])],
    [
      ["N", heads * headDim],
      ["N", kvWidth],
      ["N", kvWidth],
    ],
    { attributes: { axis: 1 } },
  );
  const rotatedQuery = rotate(graph, query, heads, config, inputs);
  const rotatedKey = rotate(graph, key, kvHeads, config, inputs);
  newKeysAndValues.push(graph.node("Reshape", [rotatedKey, graph.int64([-1, kvWidth])], ["N", kvWidth]), value);

  const byHead = (x: Value, shape: number[], perm: number[]) => transpose(graph, reshape(graph, x, shape), perm);
  const queries = byHead(rotatedQuery, [-1, kvHeads, groups, headDim], [1, 2, 0, 3]);
  const newKeys = byHead(rotatedKey, [-1, kvHeads, 1, headDim], [1, 2, 0, 3]);
  const newValues = byHead(value, [-1, kvHeads, 1, headDim], [1, 2, 0, 3]);
  const product = (keys: Value, columns: string) =>
    graph.node("FusedMatMul", [queries, keys], [kvHeads, groups, "N", columns], {
      domain: "com.microsoft",
      attributes: { alpha: { float: 1 / Math.sqrt(headDim) }, transB: 1 },
    });
  const scores = graph.node(
    "Concat",
    [product(inputs.pastKeys[layer], "C"), product(newKeys, "N")],
    [kvHeads, groups, "N", "C+N"],
    { attributes: { axis: 3 } },
  );
  const weights = graph.node("Softmax", [add(graph, scores, inputs.mask)], scores.shape, { attributes: { axis: -1 } });
  const [pastWeights, newWeights] = graph.nodes(
    "Split",
    [weights, inputs.pastAndNew],
    [
      [kvHeads, groups, "N", "C"],
      [kvHeads, groups, "N", "N"],
    ],
    { attributes: { axis: 3 } },
  );
  const attended = add(
    graph,
    graph.node("MatMul", [pastWeights, inputs.pastValues[layer]], queries.shape),
    graph.node("MatMul", [newWeights, newValues], queries.shape),
  );
  const rows = reshape(graph, transpose(graph, attended, [2, 0, 1, 3]), [-1, heads * headDim]);
  return linear(context, { ...rows, shape: ["N", heads * headDim] }, `${name}.self_attn.o_proj`);
}

/** W_down(silu(W_gate x) * W_up x). */
function swiGlu(context: GraphContext, name: string, config: TransformerConfig, x: Value): Value {
  const { graph } = context;
  const width = config.intermediateSize;
  const [gate, up] = graph.nodes(
    "Split",
    [linear(context, x, `${name}.mlp.gate_proj`, `${name}.mlp.up_proj`), graph.int64([width, width])],
    [
      ["N", width],
      ["N", width],
    ],
    { attributes: { axis: 1 } },
  );
  // QuickGelu is x * sigmoid(alpha x): with alpha 1 it is SiLU in one node.
  const activated = graph.node("QuickGelu", [gate], gate.shape, {
    domain: "com.microsoft",
    attributes: { alpha: { float: 1 } },
  });
  return linear(context, graph.node("Mul", [activated, up], gate.shape), `${name}.mlp.down_proj`);
}

/** Rotates interleaved pairs (2m, 2m + 1) of each head; [N, heads * D] -> [1, N, heads * D]. */
function rotate(graph: Graph, x: Value, heads: number, config: TransformerConfig, inputs: StackInputs): Value {
  const batched = graph.node("Unsqueeze", [x, graph.int64([0])], [1, "N", heads * config.headDim]);
  return graph.node("RotaryEmbedding", [batched, graph.int64([0]), inputs.cos, inputs.sin], batched.shape, {
    domain: "com.microsoft",
    attributes: { interleaved: 1 },
  });
}

function add(graph: Graph, a: Value, b: Value): Value {
  return graph.node("Add", [a, b], a.shape);
}

function reshape(graph: Graph, x: Value, shape: number[]): Value {
  const named = shape.map((dim) => (dim === -1 ? "N" : dim));
  return graph.node("Reshape", [x, graph.int64(shape)], named);
}

function transpose(graph: Graph, x: Value, perm: number[]): Value {
  return graph.node(
    "Transpose",
    [x],
    perm.map((axis) => x.shape[axis]),
    { attributes: { perm } },
  );
}
