/**
 * The graphs of BLT's four networks, from the checkpoint's configuration (blt-spec sections 3, 5, 6, 7).
 *
 * Shapes: N new bytes, M new patches, B bytes of these patches, P closed patches in sight, k vectors a patch
 * (`cross_attn_k`), h local width, E latent width, V = 260.
 */
import type { Weights } from "../checkpoint/checkpoint";
import type { BltConfig, LocalConfig } from "../checkpoint/config";
import { Graph, type Value } from "../graph/graph";
import { crossAttention, crossKeysAndValues, crossLayerNames } from "./cross-attention";
import { type GraphContext, linear } from "./linear";
import { pack, rmsNorm, type StackInputs, splitHeads, stackInputs, transformerStack } from "./transformer";

interface Source<C = BltConfig> extends Omit<GraphContext, "graph"> {
  checkpoint: Weights & { config: C };
}

/** A source and the graph that its nodes go into. */
export type Context<C = BltConfig> = Source<C> & Pick<GraphContext, "graph">;

/** Entropy model: `embedding` [N, hidden] -> logits [N, V], keys and values. */
export function patcherGraph(source: Source<Pick<BltConfig, "patcher">>): Graph {
  const context = { ...source, graph: new Graph("patcher") };
  const config = source.checkpoint.config.patcher!;
  const embedding = context.graph.input("embedding", ["N", config.hiddenSize]);
  const { results, newKeysAndValues } = patcherNodes(context, stackInputs(context.graph, config), embedding);
  pack(context.graph, results, newKeysAndValues);
  return context.graph;
}

/** Results of a network row by row, each [N, width], and the keys and values of its new rows. */
export interface NetworkOutputs {
  results: Value[];
  newKeysAndValues: Value[];
}

/** The entropy model's nodes: logits [N, V]. */
export function patcherNodes(
  context: Context<Pick<BltConfig, "patcher">>,
  inputs: StackInputs,
  embedding: Value,
): NetworkOutputs {
  const config = context.checkpoint.config.patcher!;
  const { hidden, newKeysAndValues } = transformerStack(context, "model.patcher", config, inputs, embedding);
  const normed = rmsNorm(context, hidden, "model.patcher.norm", config.normEps);
  return { results: [linear(context, normed, "model.patcher.lm_head")], newKeysAndValues };
}

/** Layers of the encoder whose output the patches look at, in order; the last one is the encoder's own output. */
export function encoderStateLayers({ encoder, semantics }: BltConfig): number[] {
  // Hugging Face pools and projects anew at each layer, so that only the last layer's cross-attention is ever read.
  return encoder.crossAttentionAllLayers && semantics === "meta"
    ? Array.from({ length: encoder.layers }, (_, layer) => layer)
    : [encoder.layers - 1];
}

/** Local encoder: `embedding` [N, h] -> states [N, h] of each of `encoderStateLayers`, keys and values. */
export function encoderGraph(source: Source): Graph {
  const context = { ...source, graph: new Graph("encoder") };
  const config = source.checkpoint.config.encoder;
  const embedding = context.graph.input("embedding", ["N", config.hiddenSize]);
  const { results, newKeysAndValues } = encoderNodes(context, stackInputs(context.graph, config), embedding);
  pack(context.graph, results, newKeysAndValues);
  return context.graph;
}

/** The encoder's nodes: states [N, h] of each of `encoderStateLayers`. */
export function encoderNodes(context: Context, inputs: StackInputs, embedding: Value): NetworkOutputs {
  const { config } = context.checkpoint;
  const stack = transformerStack(context, "model.local_encoder", config.encoder, inputs, embedding);
  const results = encoderStateLayers(config).map((layer) => stack.layerOutputs[layer]);
  return { results, newKeysAndValues: stack.newKeysAndValues };
}

/**
 * Closed patches -> what the decoder reads of them: `pooled` [M, h], `states` [B, layers * h], `patchMask` [M * k, B]
 * -> per decoder cross-attention layer keys and values [M, k * width] each, then the latent's own keys and values.
 */
export function latentGraph(source: Source): Graph {
  const context = { ...source, graph: new Graph("latent") };
  const { graph } = context;
  const { config } = source.checkpoint;
  const h = config.encoder.hiddenSize;
  const seen: PatchInputs = {
    pooled: graph.input("pooled", ["N", h]),
    states: graph.input("states", ["B", encoderStateLayers(config).length * h]),
    mask: graph.input("patchMask", ["N*k", "B"]),
  };
  const { results, newKeysAndValues } = latentNodes(context, stackInputs(graph, config.latent), seen);
  pack(graph, results, newKeysAndValues);
  return graph;
}

/** What the latent transformer reads of closed patches: pooled states [M, h], their bytes' states [B, layers * h], who sees whom [M * k, B]. */
export interface PatchInputs {
  pooled: Value;
  states: Value;
  mask: Value;
}

/** The latent transformer's nodes, from pooling to the decoder's keys and values: per cross-attention layer two of [M, k * width]. */
export function latentNodes(context: Context, inputs: StackInputs, seen: PatchInputs): NetworkOutputs {
  const { graph } = context;
  const { encoder, latent, decoder, crossAttentionK: k } = context.checkpoint.config;
  const h = encoder.hiddenSize;
  const vectors = patchVectors(context, seen);
  let patches = graph.node("Reshape", [vectors, graph.int64([-1, k * h])], ["N", k * h], { isDescribed: true });
  if (k * h !== latent.hiddenSize)
    patches = linear(context, patches, "model.global_transformer.token_embedding_projection");
  const stack = transformerStack(context, "model.global_transformer", latent, inputs, patches);

  const projected = linear(context, stack.hidden, "model.local_decoder.patch_embedding_projection");
  const keysOfPatches = graph.node(
    "Reshape",
    [projected, graph.int64([-1, decoder.hiddenSize])],
    ["N*k", decoder.hiddenSize],
  );
  const width = k * crossWidth(decoder);
  const cross = crossLayerNames("model.local_decoder", decoder).flatMap((name) =>
    crossKeysAndValues(context, name, decoder, keysOfPatches).map((value) =>
      graph.node("Reshape", [value, graph.int64([-1, width])], ["N", width]),
    ),
  );
  return { results: cross, newKeysAndValues: stack.newKeysAndValues };
}

/** Local decoder: `states` [N, h], `cross` [P, layers * 2 * k * width], `patchMask` [N, P * k] -> logits [N, V], keys and values. */
export function decoderGraph(source: Source): Graph {
  const context = { ...source, graph: new Graph("decoder") };
  const { graph } = context;
  const { config } = source.checkpoint;
  const states = graph.input("states", ["N", config.decoder.hiddenSize]);
  const cross = graph.input("cross", ["P", crossRowWidth(config)]);
  const mask = graph.input("patchMask", ["N", "P*k"]);
  const { results, newKeysAndValues } = decoderNodes(context, stackInputs(graph, config.decoder), states, cross, mask);
  pack(graph, results, newKeysAndValues);
  return graph;
}

/** The decoder's nodes: logits [N, V]; inputs as in `decoderGraph`. */
export function decoderNodes(
  context: Context,
  inputs: StackInputs,
  states: Value,
  cross: Value,
  mask: Value,
): NetworkOutputs {
  const { graph } = context;
  const { decoder, crossAttentionK: k } = context.checkpoint.config;
  const names = crossLayerNames("model.local_decoder", decoder);
  // Keys and values of all layers get their heads in one go: [P, 2 * layers, k, K, D] -> [2 * layers, K, P * k, D].
  const kvHeads = decoder.crossAttentionKvHeads;
  const headDim = decoder.hiddenSize / decoder.crossAttentionHeads;
  const ofPatches = graph.node("Reshape", [cross, graph.int64([-1, 2 * names.length, k, kvHeads, headDim])], ["?"]);
  const byLayer = graph.node("Transpose", [ofPatches], ["?"], { attributes: { perm: [1, 3, 0, 2, 4] } });
  const parts = graph.nodes(
    "Split",
    [
      graph.node("Reshape", [byLayer, graph.int64([2 * names.length, kvHeads, -1, headDim])], ["?"]),
      graph.int64(new Array(2 * names.length).fill(1)),
    ],
    new Array(2 * names.length).fill([1, kvHeads, "P*k", headDim]),
    { attributes: { axis: 0 } },
  );
  const look = (hidden: Value, layer: number) =>
    layer < names.length
      ? crossAttention(context, names[layer], decoder, hidden, parts[2 * layer], parts[2 * layer + 1], mask)
      : hidden;
  const stack = transformerStack(context, "model.local_decoder", decoder, inputs, states, look);
  const normed = rmsNorm(context, stack.hidden, "model.local_decoder.norm", decoder.normEps);
  return { results: [linear(context, normed, "lm_head")], newKeysAndValues: stack.newKeysAndValues };
}

/** Width of what the decoder reads of one patch. */
export function crossRowWidth({ decoder, crossAttentionK }: BltConfig): number {
  return crossLayerNames("", decoder).length * 2 * crossAttentionK * crossWidth(decoder);
}

/** Pooling, projection to k vectors a patch, cross-attention over its bytes: [M * k, h]. */
function patchVectors(context: Context, { pooled, states, mask }: PatchInputs): Value {
  const { graph } = context;
  const config = context.checkpoint.config;
  const { encoder } = config;
  const h = encoder.hiddenSize;
  const stateLayers = encoderStateLayers(config);
  const byLayer =
    stateLayers.length === 1
      ? [states]
      : graph.nodes(
          "Split",
          [states, graph.int64(stateLayers.map(() => h))],
          stateLayers.map(() => ["B", h]),
          { attributes: { axis: 1 } },
        );
  const projected = linear(context, pooled, "model.local_encoder.patch_embedding_projection");
  let vectors = graph.node("Reshape", [projected, graph.int64([-1, h])], ["N*k", h]);
  const names = crossLayerNames("model.local_encoder", encoder);
  stateLayers.forEach((layer, index) => {
    const name = encoder.crossAttentionAllLayers ? names[layer] : names[0];
    const [keys, values] = crossKeysAndValues(context, name, encoder, byLayer[index]).map((value) =>
      splitHeads(graph, value, encoder.crossAttentionKvHeads, h / encoder.crossAttentionHeads),
    );
    vectors = crossAttention(context, name, encoder, vectors, keys, values, mask);
  });
  return vectors;
}

function crossWidth(config: LocalConfig): number {
  return config.crossAttentionKvHeads * (config.hiddenSize / config.crossAttentionHeads);
}
