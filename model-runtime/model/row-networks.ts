/**
 * The byte networks for single rows, wherever the row kernels can run them: on the CPU, with a window, int8 weights that are
 * multiplied in rows, and widths of whole vectors. Where they cannot, onnxruntime runs single rows as well.
 */
import type { Weights } from "../checkpoint/checkpoint";
import type { BltConfig } from "../checkpoint/config";
import { INPUTS_TOGETHER } from "../kernels/products";
import { RowMemory } from "../kernels/row-kernels";
import type { SessionOptions } from "../session";
import { SMALL_NETWORK_BYTES } from "./causal-network";
import { crossLayerNames } from "./cross-attention";
import { type Int8Kernel, rowLevels } from "./linear";
import { encoderStateLayers } from "./networks";
import { RowNetwork, type RowNetworkParts } from "./row-network";

interface Source<C> {
  checkpoint: Weights & { config: C };
  int8Kernel: Int8Kernel;
}

/** The entropy model, as `patcherGraph`; null where it is onnxruntime's. */
export function patcherRows(source: Source<Pick<BltConfig, "patcher">>, options: SessionOptions): RowNetwork | null {
  return rowNetwork(source, options, {
    prefix: "model.patcher",
    config: source.checkpoint.config.patcher!,
    input: "embedding",
    resultLayers: [],
    head: { norm: "model.patcher.norm", projection: "model.patcher.lm_head" },
    cross: null,
  });
}

/** The local encoder, as `encoderGraph`; null where it is onnxruntime's. */
export function encoderRows(source: Source<BltConfig>, options: SessionOptions): RowNetwork | null {
  const { config } = source.checkpoint;
  return rowNetwork(source, options, {
    prefix: "model.local_encoder",
    config: config.encoder,
    input: "embedding",
    resultLayers: encoderStateLayers(config),
    head: null,
    cross: null,
  });
}

/** The local decoder without an adapter, as `decoderGraph`; null where it is onnxruntime's. */
export function decoderRows(source: Source<BltConfig>, options: SessionOptions): RowNetwork | null {
  const { decoder, crossAttentionK, crossAttentionWindow } = source.checkpoint.config;
  return rowNetwork(source, options, {
    prefix: "model.local_decoder",
    config: decoder,
    input: "states",
    resultLayers: [],
    head: { norm: "model.local_decoder.norm", projection: "lm_head" },
    cross: {
      names: crossLayerNames("model.local_decoder", decoder),
      config: decoder,
      k: crossAttentionK,
      patches: crossAttentionWindow.decoder,
    },
  });
}

function rowNetwork(
  { checkpoint, int8Kernel }: Source<unknown>,
  { device }: SessionOptions,
  parts: RowNetworkParts,
): RowNetwork | null {
  const levels = rowLevels(int8Kernel);
  if (levels === null || device !== "cpu" || !fits(checkpoint, parts)) return null;
  const memory = RowMemory.create();
  return memory && new RowNetwork(memory, checkpoint, parts, levels);
}

function fits(checkpoint: Weights, parts: RowNetworkParts): boolean {
  const { prefix, config, cross } = parts;
  const { hiddenSize, intermediateSize, headDim, layers, window } = config;
  const widths = [hiddenSize, intermediateSize, headDim];
  if (cross !== null) widths.push(hiddenSize / cross.config.crossAttentionHeads);
  const prefixes = [`${prefix}.layers.`, ...(cross?.names ?? []).map((name) => `${name}.`)];
  const matrices = [...checkpoint.tensors.values()].filter(
    ({ name, shape }) => shape.length === 2 && prefixes.some((each) => name.startsWith(each)),
  );
  return (
    window !== null &&
    layers > 0 &&
    widths.every((width) => width % INPUTS_TOGETHER === 0) &&
    matrices.every(({ dtype }) => dtype === "I8") &&
    matrices.reduce((sum, { length }) => sum + length, 0) < SMALL_NETWORK_BYTES &&
    seenBytes(parts) < SMALL_NETWORK_BYTES
  );
}

/** Bytes of the keys and values that one row can see, for all of which room is made at once. */
function seenBytes({ config, cross }: RowNetworkParts): number {
  const { layers, kvHeads, headDim, window } = config;
  const positions = layers * kvHeads * headDim * window!;
  if (cross === null) return 8 * positions;
  const { hiddenSize, crossAttentionHeads, crossAttentionKvHeads } = cross.config;
  const width = crossAttentionKvHeads * (hiddenSize / crossAttentionHeads);
  return 8 * (positions + cross.names.length * width * cross.k * cross.patches);
}
