/**
 * Graphs for training a lexicon model: the lower layers as at inference, the upper ones with weights that are fed and an
 * adapter that is learned, and the loss.
 *
 * Shapes: T positions of a row, E width, V pieces, S candidates, P parameters.
 */
import { type LexiconCheckpoint, pieceEmbeddingName } from "../checkpoint/open-lexicon";
import { gradients } from "../graph/gradients";
import { Graph, type Value } from "../graph/graph";
import { type GraphContext, linear } from "../model/linear";
import { readoutStates } from "../model/piece-latent";
import { sequenceInputs, transformerStack } from "../model/transformer";
import { type FloatWeight, readFloatWeight } from "./float-weights";
import { crossEntropy } from "./loss";
import { type ParameterLayout, trainedAdapter } from "./low-rank-parameters";

interface Source extends Omit<GraphContext, "graph"> {
  checkpoint: LexiconCheckpoint;
}

const prefix = "model.global_transformer";

/** Layers below `firstTrained`, over a whole sequence: `embedding` [T, E] -> `hidden` [T, E]. */
export function frozenGraph(source: Source, firstTrained: number): Graph {
  const context = { ...source, graph: new Graph("frozen") };
  const { latent } = source.checkpoint.config;
  const embedding = context.graph.input("embedding", ["N", latent.hiddenSize]);
  const inputs = sequenceInputs(context.graph, latent, { from: 0, to: firstTrained });
  context.graph.output("hidden", transformerStack(context, prefix, latent, inputs, embedding).hidden);
  return context.graph;
}

/** A graph whose weights are fed, and the weights by the names of its inputs. */
export interface FedGraph {
  graph: Graph;
  weights: ReadonlyMap<string, FloatWeight>;
}

export interface TrainedGraphOptions {
  firstTrained: number;
  layout: ParameterLayout;
  /** T */
  positions: number;
  /** Weights already read, which graphs share. */
  known: Map<string, FloatWeight>;
}

/** Trained layers: `hidden` [T, E], `parameters` [P] -> `states` [T, E] after the final norm. */
export function statesGraph(checkpoint: LexiconCheckpoint, options: TrainedGraphOptions): FedGraph {
  const { graph, weights, states } = trainedLayers("states", checkpoint, options);
  graph.output("states", states);
  return { graph, weights };
}

/**
 * The loss and its gradient: `hidden` [T, E], `parameters` [P], `accumulated` [P], `readout` [S, E] rows of candidates,
 * `offsets` [S] added to their logits, `targets` int64 [T, 1] among the candidates, `weights` [T, 1] -> `packed`: loss,
 * log p of targets [T], of the most probable [T], accumulated gradient [P].
 * @param candidates S
 */
export function gradientGraph(
  checkpoint: LexiconCheckpoint,
  candidates: number,
  smoothing: number,
  options: TrainedGraphOptions & { checkpointLayers: boolean },
): FedGraph {
  const { graph, weights, states, parameters, layerOutputs } = trainedLayers("gradient", checkpoint, options);
  const { hiddenSize } = checkpoint.config.latent;
  const readout = graph.input("readout", [candidates, hiddenSize]);
  const offsets = graph.input("offsets", [candidates]);
  const targets = graph.input("targets", ["N", 1], "int64");
  const weight = graph.input("weights", ["N", 1]);
  const accumulated = graph.input("accumulated", [options.layout.size]);
  const logits = graph.node("Gemm", [states, readout, offsets], ["N", candidates], { attributes: { transB: 1 } });
  const { loss, picked, best } = crossEntropy(graph, logits, targets, weight, smoothing);
  // The last layer's values are used at once, so only those below it are worth computing anew.
  const kept = options.checkpointLayers ? layerOutputs.slice(0, -1) : [];
  const [gradient] = gradients(graph, loss, [parameters], kept);
  const total = graph.node("Add", [gradient, accumulated], [options.layout.size]);
  const flat = [loss, picked, best, total].map((value) => graph.node("Reshape", [value, graph.int64([-1])], ["?"]));
  graph.output("packed", graph.node("Concat", flat, ["?"], { attributes: { axis: 0 } }));
  return { graph, weights };
}

/**
 * Exact scores: `states` [M, E], `targets` int64 [M, 1] -> `scores` [M, 2]: log p of the target among the pieces that
 * have bytes and EOS, and of the most probable one.
 */
export function scoreGraph(source: Source): Graph {
  const context = { ...source, graph: new Graph("score") };
  const { graph } = context;
  const { latent, eosPiece, pieces, specialPieces } = source.checkpoint.config;
  const states = graph.input("states", ["M", latent.hiddenSize]);
  const targets = graph.input("targets", ["M", 1], "int64");
  const logits = linear(context, states, pieceEmbeddingName.replace(/\.weight$/, ""));
  const barred = new Float32Array(pieces);
  for (const piece of specialPieces) if (piece !== eosPiece) barred[piece] = -1e30;
  const readable = graph.node("Add", [logits, graph.float32(barred)], logits.shape);
  const { picked, best } = crossEntropy(graph, readable, targets, graph.float32([0], [1, 1]), 0);
  graph.output("scores", graph.node("Concat", [picked, best], ["M", 2], { attributes: { axis: 1 } }));
  return graph;
}

/** Shape [O, I] of every linear layer from `firstTrained` on that `isTarget` names. */
export function pieceTargets(
  { config, tensors }: LexiconCheckpoint,
  firstTrained: number,
  isTarget: (kind: string) => boolean,
): Map<string, [number, number]> {
  const { hiddenSize, intermediateSize } = config.latent;
  const shapes = new Map<string, [number, number]>();
  for (let layer = firstTrained; layer < config.latent.layers; layer++)
    for (const [group, kinds] of [
      ["self_attn", ["q_proj", "k_proj", "v_proj", "o_proj"]],
      ["mlp", ["gate_proj", "up_proj", "down_proj"]],
    ] as const)
      for (const kind of kinds) {
        if (!isTarget(kind)) continue;
        const name = `${prefix}.layers.${layer}.${group}.${kind}`;
        const outputs = tensors.get(`${name}.weight`)!.shape[0];
        const inputs =
          kind === "down_proj"
            ? intermediateSize
            : kind === "o_proj"
              ? config.latent.heads * config.latent.headDim
              : hiddenSize;
        shapes.set(name, [outputs, inputs]);
      }
  return shapes;
}

/** Layers with fed weights over one row: `hidden` [T, E] -> `states` [T, E] after the final norm. */
export interface PieceNetwork {
  graph: Graph;
  states: Value;
  /** Hidden state after each layer. */
  layerOutputs: Value[];
  weights: ReadonlyMap<string, FloatWeight>;
  weightValues: ReadonlyMap<string, Value>;
}

/** @param adapterOf makes the adapter for the graph, if there is one */
export function pieceNetwork(
  name: string,
  checkpoint: LexiconCheckpoint,
  { firstTrained, positions, known }: Omit<TrainedGraphOptions, "layout">,
  adapterOf: (graph: Graph) => GraphContext["adapter"],
): PieceNetwork {
  const { latent } = checkpoint.config;
  const graph = new Graph(name, { N: positions });
  const weights = new Map<string, FloatWeight>();
  const weightValues = new Map<string, Value>();
  const given = (weight: string): Value => {
    let value = weightValues.get(weight);
    if (value === undefined) {
      const found = known.get(weight) ?? readFloatWeight(checkpoint, weight);
      known.set(weight, found);
      weights.set(weight, found);
      value = graph.input(weight, found.shape);
      weightValues.set(weight, value);
    }
    return value;
  };
  const context: GraphContext = { graph, checkpoint, int8Kernel: "float32", given, adapter: adapterOf(graph) };
  const hidden = graph.input("hidden", ["N", latent.hiddenSize]);
  const inputs = sequenceInputs(graph, latent, { from: firstTrained, to: latent.layers });
  const { hidden: last, layerOutputs } = transformerStack(context, prefix, latent, inputs, hidden);
  const states = readoutStates(context, checkpoint.config, last);
  return { graph, states, layerOutputs, weights, weightValues };
}

function trainedLayers(name: string, checkpoint: LexiconCheckpoint, options: TrainedGraphOptions) {
  const { layout } = options;
  let parameters: Value | undefined;
  const network = pieceNetwork(name, checkpoint, options, (graph) => {
    parameters = graph.input("parameters", [layout.size]);
    return trainedAdapter(graph, parameters, layout);
  });
  return { ...network, parameters: parameters! };
}
