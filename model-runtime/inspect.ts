/** What a checkpoint is made of and what it costs: parameters by part, memory, floating-point operations a byte. */
import type { Checkpoint, Dtype, TensorLocation } from "./checkpoint/checkpoint";
import type { BltConfig, LocalConfig, TransformerConfig } from "./checkpoint/config";
import { expectedTensors, hashTableName } from "./checkpoint/expected-tensors";
import { scaleName } from "./checkpoint/tensor-data";
import { crossLayerNames } from "./model/cross-attention";
import { crossRowWidth, encoderStateLayers } from "./model/networks";

export type Part = "patcher" | "hashEmbedding" | "localEncoder" | "latentTransformer" | "localDecoder" | "head";

export interface Inspection<P extends string = Part> {
  parameters: Record<P, number> & { total: number };
  /** Bytes of weights in their files by element type. */
  weightBytes: Partial<Record<Dtype, number>> & { total: number };
  /** Bytes of memory that a text takes beside the weights, F32. */
  textMemory: { atStart: number; perByte: number; perPatch: number };
  /** Multiplications and additions of the matrix products, attention scores left out (blt-spec section 10.4). */
  flops: { perByte: number; perPatch: number; perByteInAll: number; meanPatchLength: number };
}

/** @param meanPatchLength bytes a patch, by which the cost of a patch is spread over its bytes */
export function inspectCheckpoint(checkpoint: Checkpoint, meanPatchLength: number): Inspection {
  const { config } = checkpoint;
  const { perByte, perPatch } = flopsOf(config);
  return {
    parameters: parametersOf(config),
    weightBytes: weightBytesOf(checkpoint),
    textMemory: textMemoryOf(config),
    flops: { perByte, perPatch, perByteInAll: perByte + perPatch / meanPatchLength, meanPatchLength },
  };
}

function parametersOf(config: BltConfig): Inspection["parameters"] {
  const parts: Record<Part, number> = {
    patcher: 0,
    hashEmbedding: 0,
    localEncoder: 0,
    latentTransformer: 0,
    localDecoder: 0,
    head: 0,
  };
  return countedByPart(parts, expectedTensors(config), partOf);
}

/** Adds the elements of tensors to the parts that they belong to, and all parts up. */
export function countedByPart<P extends string>(
  parts: Record<P, number>,
  shapes: ReadonlyMap<string, readonly number[]>,
  partOf: (name: string) => P,
): Record<P, number> & { total: number } {
  let total = 0;
  for (const [name, shape] of shapes) {
    const count = shape.reduce((sofar, size) => sofar * size, 1);
    parts[partOf(name)] += count;
    total += count;
  }
  return { ...parts, total };
}

function partOf(name: string): Part {
  if (name === hashTableName) return "hashEmbedding";
  if (name === "lm_head.weight") return "head";
  const parts: Record<string, Part> = {
    patcher: "patcher",
    local_encoder: "localEncoder",
    global_transformer: "latentTransformer",
    local_decoder: "localDecoder",
  };
  return parts[name.split(".")[1]];
}

function weightBytesOf({ tensors, hashTables }: Checkpoint): Inspection["weightBytes"] {
  const others = [...tensors].filter(([name]) => name !== hashTableName && name !== scaleName(hashTableName));
  const tables = hashTables.flatMap((table) => (table.scales === null ? [table] : [table, table.scales]));
  return bytesByType([...others.map(([, location]) => location), ...tables]);
}

/** Bytes of tensors by element type, and of all. */
export function bytesByType(locations: Iterable<TensorLocation>): Inspection["weightBytes"] {
  const bytes: Inspection["weightBytes"] = { total: 0 };
  for (const { dtype, length } of locations) {
    bytes[dtype] = (bytes[dtype] ?? 0) + length;
    bytes.total += length;
  }
  return bytes;
}

/** Windowed caches stop growing: they count as there from the start. */
function textMemoryOf(config: BltConfig): Inspection["textMemory"] {
  const { patcher, encoder, latent, decoder } = config;
  const byteNetworks = [patcher, encoder, decoder].filter((network): network is TransformerConfig => network !== null);
  const atStart = byteNetworks.reduce((sum, network) => sum + (network.window ?? 0) * cacheRow(network), 0);
  const unlimited = byteNetworks.filter(({ window }) => window === null);
  const states = encoder.hiddenSize * encoderStateLayers(config).length * float32Bytes;
  return {
    atStart,
    perByte: unlimited.reduce((sum, network) => sum + cacheRow(network), states),
    perPatch: cacheRow(latent) + crossRowWidth(config) * float32Bytes,
  };
}

export const float32Bytes = 4;

/** Bytes of one position's keys and values. */
export function cacheRow({ layers, kvHeads, headDim }: TransformerConfig): number {
  return 2 * layers * kvHeads * headDim * float32Bytes;
}

function flopsOf(config: BltConfig): { perByte: number; perPatch: number } {
  const { patcher, encoder, latent, decoder, crossAttentionK: k, vocabSize } = config;
  const cross = (local: LocalConfig) => {
    const square = local.hiddenSize ** 2;
    const keysAndValues = (2 * square * local.crossAttentionKvHeads) / local.crossAttentionHeads;
    return { queryAndOutput: 2 * square, keysAndValues, layers: crossLayerNames("", local).length };
  };
  const [inEncoder, inDecoder] = [cross(encoder), cross(decoder)];
  // Only the layers whose output is looked at are attended to by patches.
  const encoderCrossLayers = encoderStateLayers(config).length;
  const patchWidth = k * encoder.hiddenSize;
  const byte =
    (patcher === null ? 0 : blockProducts(patcher) + vocabSize * patcher.hiddenSize) +
    blockProducts(encoder) +
    encoderCrossLayers * inEncoder.keysAndValues +
    blockProducts(decoder) +
    inDecoder.layers * inDecoder.queryAndOutput +
    vocabSize * decoder.hiddenSize;
  const patch =
    patchWidth * encoder.hiddenSize +
    encoderCrossLayers * k * inEncoder.queryAndOutput +
    (patchWidth === latent.hiddenSize ? 0 : patchWidth * latent.hiddenSize) +
    blockProducts(latent) +
    latent.hiddenSize * k * decoder.hiddenSize +
    inDecoder.layers * k * inDecoder.keysAndValues;
  return { perByte: 2 * byte, perPatch: 2 * patch };
}

/** Multiplications of all blocks' matrix products at one position. */
export function blockProducts({
  layers,
  hiddenSize,
  heads,
  kvHeads,
  headDim,
  intermediateSize,
}: TransformerConfig): number {
  const attention = hiddenSize * headDim * 2 * (heads + kvHeads);
  return layers * (attention + 3 * hiddenSize * intermediateSize);
}
