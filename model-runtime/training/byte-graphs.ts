/**
 * The graph for training a plain BLT: from the encoder's states through patches, latent transformer and local decoder to
 * the loss of the next byte. The encoder and the patcher are fixed, so that patches stay what they are.
 *
 * Shapes: N bytes of a row, M patches (those not in use are hidden by masks), k vectors a patch, h local width, P parameters.
 */
import type { Checkpoint } from "../checkpoint/checkpoint";
import { gradients } from "../graph/gradients";
import { Graph, type Value } from "../graph/graph";
import { crossLayerNames } from "../model/cross-attention";
import type { GraphContext } from "../model/linear";
import { decoderNodes, encoderStateLayers, latentNodes } from "../model/networks";
import { sequenceInputs } from "../model/transformer";
import { type FloatWeight, readFloatWeight } from "./float-weights";
import { crossEntropy } from "./loss";
import { type ParameterLayout, trainedAdapter } from "./low-rank-parameters";

/** Sizes of a row. */
export interface RowSizes {
  bytes: number;
  patches: number;
}

/** A BLT over one row: inputs as in `RowFeeds`, weights as inputs by their names. */
export interface ByteNetwork {
  graph: Graph;
  logits: Value;
  weights: ReadonlyMap<string, FloatWeight>;
  weightValues: ReadonlyMap<string, Value>;
}

/** @param adapterOf makes the adapter for the graph, if there is one */
export function byteNetwork(
  checkpoint: Checkpoint,
  { bytes, patches }: RowSizes,
  adapterOf: (graph: Graph) => GraphContext["adapter"],
): ByteNetwork {
  const { config } = checkpoint;
  const { encoder, latent, decoder, crossAttentionK: k } = config;
  const graph = new Graph("row", { N: bytes, M: patches, "M*k": patches * k });
  const weights = new Map<string, FloatWeight>();
  const weightValues = new Map<string, Value>();
  const given = (name: string): Value => {
    let value = weightValues.get(name);
    if (value === undefined) {
      const weight = readFloatWeight(checkpoint, name);
      value = graph.input(name, weight.shape);
      weights.set(name, weight);
      weightValues.set(name, value);
    }
    return value;
  };
  const context = { graph, checkpoint, int8Kernel: "float32" as const, given, adapter: adapterOf(graph) };
  const { results: cross } = latentNodes(
    context,
    sequenceInputs(graph, latent, { from: 0, to: latent.layers }, "patch", "M"),
    {
      pooled: graph.input("pooled", ["M", encoder.hiddenSize]),
      states: graph.input("patchStates", ["N", encoder.hiddenSize * encoderStateLayers(config).length]),
      mask: graph.input("patchBytes", ["M*k", "N"]),
    },
  );
  const read = graph.node("Concat", cross, [patches, "?"], { attributes: { axis: 1 } });
  const {
    results: [logits],
  } = decoderNodes(
    context,
    sequenceInputs(graph, decoder, { from: 0, to: decoder.layers }, "byte", "N"),
    graph.input("byteStates", ["N", decoder.hiddenSize]),
    read,
    graph.input("bytePatches", ["N", "M*k"]),
  );
  return { graph, logits, weights, weightValues };
}

/**
 * The loss and the gradient by an adapter's `parameters` [P]: also `targets` int64 [N, 1], `weights` [N, 1], `accumulated`
 * [P] -> `packed`: loss, log p of targets [N], of the most probable [N], accumulated gradient [P].
 */
export function byteGradientGraph(
  checkpoint: Checkpoint,
  sizes: RowSizes,
  layout: ParameterLayout,
  smoothing: number,
): { graph: Graph; weights: ReadonlyMap<string, FloatWeight> } {
  let parameters: Value | undefined;
  const { graph, logits, weights } = byteNetwork(checkpoint, sizes, (made) => {
    parameters = made.input("parameters", [layout.size]);
    return trainedAdapter(made, parameters, layout);
  });
  const targets = graph.input("targets", ["N", 1], "int64");
  const weight = graph.input("weights", ["N", 1]);
  const accumulated = graph.input("accumulated", [layout.size]);
  const { loss, picked, best } = crossEntropy(graph, logits, targets, weight, smoothing);
  const [gradient] = gradients(graph, loss, [parameters!]);
  const total = graph.node("Add", [gradient, accumulated], [layout.size]);
  const flat = [loss, picked, best, total].map((value) => graph.node("Reshape", [value, graph.int64([-1])], ["?"]));
  graph.output("packed", graph.node("Concat", flat, ["?"], { attributes: { axis: 0 } }));
  return { graph, weights };
}

/** Shape [O, I] of the linear layers that are adapted: all of the decoder, and of the latent transformer's last `layers`. */
export function byteTargets(
  { config, tensors }: Checkpoint,
  layers: number,
  kinds: readonly string[],
): Map<string, [number, number]> {
  const { latent, decoder } = config;
  const blocks = [
    ...Array.from({ length: layers }, (_, i) => `model.global_transformer.layers.${latent.layers - layers + i}`),
    ...Array.from({ length: decoder.layers }, (_, i) => `model.local_decoder.layers.${i}`),
  ];
  const names = [
    ...blocks.flatMap((block) =>
      kinds.map((kind) => `${block}.${/^[qkvo]_/.test(kind) ? "self_attn" : "mlp"}.${kind}`),
    ),
    ...crossLayerNames("model.local_decoder", decoder).flatMap((block) =>
      kinds.filter((kind) => /^[qkvo]_/.test(kind)).map((kind) => `${block}.${kind}`),
    ),
  ];
  return new Map(names.map((name) => [name, tensors.get(`${name}.weight`)!.shape.slice(0, 2) as [number, number]]));
}
