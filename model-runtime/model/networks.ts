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
import { pack, rmsNorm, splitHeads, stackInputs, transformerStack } from "./transformer";

interface Source<C = BltConfig> extends Omit<GraphContext, "graph"> {
  checkpoint: Weights & { config: C };
}

/** Entropy model: `embedding` [N, hidden] -> logits [N, V], keys and values. */
export function patcherGraph(source: Source<Pick<BltConfig, "patcher">>): Graph {
  const context = { ...source, graph: new Graph("patcher") };
  const config = source.checkpoint.config.patcher!;
  const embedding = context.graph.input("embedding", ["N", config.hiddenSize]);
  const stack = transformerStack(context, "model.patcher", config, stackInputs(context.graph, config), embedding);
  const normed = rmsNorm(context, stack.hidden, "model.patcher.norm", config.normEps);
  pack(context.graph, [linear(context, normed, "model.patcher.lm_head")], stack.newKeysAndValues);
  return context.graph;
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
  const stack = transformerStack(context, "model.local_encoder", config, stackInputs(context.graph, config), embedding);
  const states = encoderStateLayers(source.checkpoint.config).map((layer) => stack.layerOutputs[layer]);
  pack(context.graph, states, stack.newKeysAndValues);
  return context.graph;
}

/**
 * Closed patches -> what the decoder reads of them: `pooled` [M, h], `states` [B, layers * h], `patchMask` [M * k, B]
 * -> per decoder cross-attention layer keys and values [M, k * width] each, then the latent's own keys and values.
 */
export function latentGraph(source: Source): Graph {
  const context = { ...source, graph: new Graph("latent") };
  const { graph } = context;
  const { encoder, latent, decoder, crossAttentionK: k } = source.checkpoint.config;
  const h = encoder.hiddenSize;

  const vectors = patchVectors(context);
  let patches = graph.node("Reshape", [vectors, graph.int64([-1, k * h])], ["N", k * h]);
  if (k * h !== latent.hiddenSize)
    patches = linear(context, patches, "model.global_transformer.token_embedding_projection");
  const stack = transformerStack(context, "model.global_transformer", latent, stackInputs(graph, latent), patches);

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
  pack(graph, cross, stack.newKeysAndValues);
  return graph;
}

/** Local decoder: `states` [N, h], `cross` [P, layers * 2 * k * width], `patchMask` [N, P * k] -> logits [N, V], keys and values. */
export function decoderGraph(source: Source): Graph {
  const context = { ...source, graph: new Graph("decoder") };
  const { graph } = context;
  const { decoder, crossAttentionK: k } = source.checkpoint.config;
  const names = crossLayerNames("model.local_decoder", decoder);
  const states = graph.input("states", ["N", decoder.hiddenSize]);
  const cross = graph.input("cross", ["P", crossRowWidth(source.checkpoint.config)]);
  const mask = graph.input("patchMask", ["N", "P*k"]);
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
  const inputs = stackInputs(graph, decoder);
  const stack = transformerStack(context, "model.local_decoder", decoder, inputs, states, look);
  const normed = rmsNorm(context, stack.hidden, "model.local_decoder.norm", decoder.normEps);
  pack(graph, [linear(context, normed, "lm_head")], stack.newKeysAndValues);
  return graph;
}

/** Width of what the decoder reads of one patch. */
export function crossRowWidth({ decoder, crossAttentionK }: BltConfig): number {
  return crossLayerNames("", decoder).length * 2 * crossAttentionK * crossWidth(decoder);
}

/** Pooling, projection to k vectors a patch, cross-attention over its bytes: [M * k, h]. */
function patchVectors(context: GraphContext & Source): Value {
  const { graph } = context;
  const config = context.checkpoint.config;
  const { encoder } = config;
  const h = encoder.hiddenSize;
  const stateLayers = encoderStateLayers(config);
  const pooled = graph.input("pooled", ["N", h]);
  const states = graph.input("states", ["B", stateLayers.length * h]);
  const mask = graph.input("patchMask", ["N*k", "B"]);
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
