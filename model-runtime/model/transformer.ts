/**
 * A causal transformer stack as graph nodes, over new rows and a key/value cache (blt-spec sections 5.2, 8, 11).
 *
 * Shapes: N new rows, E hidden width, H query heads, K key/value heads, G = H / K, D head width,
 * C slots of the cache (not all in use: the mask hides the others), L layers.
 *
 * The cache is an input, and copied only where `joinsPast` says so; only the new rows' keys and values leave the graph. Each query head is a
 * product of its own that broadcasts over the key heads: for one row onnxruntime then reads the past in place,
 * where G rows in one product would make it copy the past into panels first (1.6 times slower, docs/performance.md).
 */
import type { TransformerConfig } from "../checkpoint/config";
import type { Graph, Value } from "../graph/graph";
import type { Dim } from "../graph/onnx-format";
import { asBytes } from "./byte-keys";
import { floatWeight, type GraphContext, linear } from "./linear";

/** What the rows of one run share in all layers, and the cached past of each layer. */
export interface StackInputs {
  /** [N, D/2] cosine and sine of each new row's rotation. */
  cos: Value;
  sin: Value;
  /** [N, C + N] added to the scores: 0 where visible, very negative where not. */
  mask: Value;
  /** int64 [2]: C and N. */
  pastAndNew: Value | undefined;
  /** `headShape` [..., C, D] a layer; none where a whole sequence is run at once (C = 0). */
  pastKeys: Value[];
  pastValues: Value[];
  /** Puts a row's keys and values behind those of rows that are not in the past yet (a loop's earlier steps). */
  extend?: (layer: number, key: Value, value: Value) => [Value, Value];
  /** The layers to run, `from` included, `to` not; all of the stack unless said. */
  layers?: { from: number; to: number };
}

export interface StackOutputs {
  /** [N, E], no final norm. */
  hidden: Value;
  /** Hidden state after each layer that was run, the last one being `hidden`. */
  layerOutputs: Value[];
  /** Per layer the rotated keys and the values of the new rows, [1, K, N, D] each, keys first. */
  newKeysAndValues: Value[];
}

/**
 * The two axes that heads take in products of queries [.., .., N, D] with keys and values: [1, K] where each query head
 * has a key head of its own, else [K, 1], over which the G queries [K, G] of a key head broadcast.
 */
export function headShape(heads: number, kvHeads: number): [number, number] {
  return heads === kvHeads ? [1, kvHeads] : [kvHeads, 1];
}

/** Declares the inputs of a stack in the graph; `KvCache.feeds` fills them by the same names. */
export function stackInputs(graph: Graph, config: TransformerConfig): StackInputs {
  const { heads, kvHeads, headDim, layers } = config;
  const shape = [...headShape(heads, kvHeads), "C", headDim];
  const each = (name: string) => Array.from({ length: layers }, (_, layer) => graph.input(`${name}${layer}`, shape));
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
 * Inputs of a run over a whole sequence, with nothing cached.
 * @param name goes before the names `Cos`, `Sin` and `Mask` of the inputs where a graph has several stacks
 * @param rows name of the dimension of rows
 */
export function sequenceInputs(
  graph: Graph,
  { headDim }: TransformerConfig,
  layers: { from: number; to: number },
  name = "",
  rows = "N",
): StackInputs {
  const named = (part: string) => (name === "" ? part : name + part[0].toUpperCase() + part.slice(1));
  return {
    cos: graph.input(named("cos"), [rows, headDim / 2]),
    sin: graph.input(named("sin"), [rows, headDim / 2]),
    mask: graph.input(named("mask"), [rows, rows]),
    pastAndNew: undefined,
    pastKeys: [],
    pastValues: [],
    layers,
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
  const { from, to } = inputs.layers ?? { from: 0, to: config.layers };
  for (let layer = from; layer < to; layer++) {
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

/**
 * Makes the one output of a run, `packed`: the results row by row ([N, sum of widths]), then the new keys and values
 * ([L, 2, K, N, D]). One output, because each is copied at a price of its own.
 */
export function pack(graph: Graph, results: Value[], newKeysAndValues: Value[]): void {
  const flatten = (values: Value[], axis: number) => {
    const joined = values.length === 1 ? values[0] : graph.node("Concat", values, ["?"], { attributes: { axis } });
    return graph.node("Reshape", [joined, graph.int64([-1])], ["?"]);
  };
  const parts = [flatten(results, 1), flatten(newKeysAndValues, 1)];
  graph.output("packed", graph.node("Concat", parts, ["?"], { attributes: { axis: 0 } }));
}

/** [N, heads * D] -> [1, heads, N, D]. */
export function splitHeads(graph: Graph, x: Value, heads: number, headDim: number): Value {
  return transpose(graph, reshape(graph, x, [0, 1, heads, headDim]), [1, 2, 0, 3]);
}

/**
 * Softmax attention of queries to parts of keys and values, one scale and one mask over all parts.
 * @param queries [1, H, N, D]
 * @param keys of each part [1, K, C_i, D], or with the axes of `headShape`
 * @param mask [N, sum of C_i]
 * @param partLengths int64, the C_i, where there are several parts
 * @returns [N, H * D]
 */
export function attention(
  graph: Graph,
  heads: number,
  kvHeads: number,
  headDim: number,
  queries: Value,
  keys: Value[],
  values: Value[],
  mask: Value,
  partLengths?: Value,
): Value {
  const groups = heads / kvHeads;
  // With a key head for each query head all tensors have their axes already.
  const byKeyHead = (x: Value, perHead: number) =>
    groups === 1 || x.shape[0] === kvHeads ? x : reshape(graph, x, [kvHeads, perHead, 0, headDim]);
  // Queries are scaled by themselves: onnxruntime multiplies a single row without copying the keys only at scale 1. By a vector of
  // equal numbers, as a single one before the product would be made its scale again.
  const scale = new Float32Array(headDim).fill(1 / Math.sqrt(headDim));
  const scaled = graph.node("Mul", [queries, graph.float32(scale)], queries.shape);
  const grouped = byKeyHead(scaled, groups);
  const scoresOf = (columns: Dim) => [...grouped.shape.slice(0, 3), columns];
  const products = keys.map((part) =>
    graph.node("FusedMatMul", [grouped, byKeyHead(part, 1)], scoresOf(part.shape[2]), {
      domain: "com.microsoft",
      attributes: { transB: 1 },
    }),
  );
  const scores =
    products.length === 1
      ? products[0]
      : graph.node("Concat", products, scoresOf(mask.shape[1]), { attributes: { axis: 3 }, isDescribed: true });
  const weights = graph.node("Softmax", [add(graph, scores, mask)], scores.shape, { attributes: { axis: -1 } });
  const weightsOfParts = partLengths
    ? graph.nodes(
        "Split",
        [weights, partLengths],
        keys.map((part) => scoresOf(part.shape[2])),
        { attributes: { axis: 3 }, isDescribed: true },
      )
    : [weights];
  const attended = values
    .map((part, i) => graph.node("MatMul", [weightsOfParts[i], byKeyHead(part, 1)], grouped.shape))
    .reduce((sum, part) => add(graph, sum, part));
  return reshape(graph, transpose(graph, attended, [2, 0, 1, 3]), [0, heads * headDim]);
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
  const projected = linear(context, normed, ...["q", "k", "v"].map((p) => `${name}.self_attn.${p}_proj`));
  const split = (x: Value, parts: number[]) =>
    graph.nodes(
      "Split",
      [x, graph.int64(parts)],
      parts.map((count) => [1, count, "N", headDim]),
      { attributes: { axis: 1 } },
    );
  // Queries and keys are rotated in one node: heads are alike to it.
  const [rotating, plainValue] = split(splitHeads(graph, projected, heads + 2 * kvHeads, headDim), [
    heads + kvHeads,
    kvHeads,
  ]);
  const rotated = graph.node("RotaryEmbedding", [rotating, graph.int64([0]), inputs.cos, inputs.sin], rotating.shape, {
    domain: "com.microsoft",
    attributes: { interleaved: 1 },
  });
  const [query, rotatedKey] = split(rotated, [heads, kvHeads]);
  const [newKey, newValue] = [rotatedKey, plainValue].map((each) => (context.byteKeys ? asBytes(graph, each) : each));
  const [key, value] = inputs.extend ? inputs.extend(layer, newKey, newValue) : [newKey, newValue];
  newKeysAndValues.push(key, value);
  const isCached = inputs.pastKeys.length > 0;
  const axes = headShape(heads, kvHeads);
  // Copying the past costs less than copying the scores of many rows, and more than those of a few.
  const join = (past: Value, added: Value) =>
    graph.node(
      "Concat",
      [past, reshape(graph, added, [...axes, 0, headDim])],
      [...axes, inputs.mask.shape[1], headDim],
      { attributes: { axis: 2 }, isDescribed: true },
    );
  const parts = (past: Value[], added: Value) => {
    if (!isCached) return [added];
    return context.joinsPast ? [join(past[layer], added)] : [past[layer], added];
  };
  const [keys, values] = [parts(inputs.pastKeys, key), parts(inputs.pastValues, value)];
  const lengths = keys.length === 1 ? undefined : inputs.pastAndNew;
  const attended = attention(graph, heads, kvHeads, headDim, query, keys, values, inputs.mask, lengths);
  return linear(context, attended, `${name}.self_attn.o_proj`);
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

function add(graph: Graph, a: Value, b: Value): Value {
  return graph.node("Add", [a, b], a.shape);
}

/** @param shape 0 where x has the dimension in the same place: with -1 onnxruntime would not know what stands there (`NodeOptions.isDescribed`). */
function reshape(graph: Graph, x: Value, shape: number[]): Value {
  const named = shape.map((dim, i) => (dim === 0 ? x.shape[i] : dim));
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
