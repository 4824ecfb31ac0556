/**
 * Networks by rows, wherever the row kernels can run them: the byte networks on the CPU, with a window, int8 weights that are
 * multiplied in rows, and widths of whole vectors; the latent transformer where its layers are 4-bit blocks without minima, or for the
 * native kernels int8. Where they cannot, onnxruntime runs these rows as well.
 */
import { availableParallelism } from "node:os";
import type { Weights } from "../checkpoint/checkpoint";
import type { BltConfig, TransformerConfig } from "../checkpoint/config";
import { type LexiconCheckpoint, readoutMatrixName } from "../checkpoint/open-lexicon";
import { BLOCK_INPUTS } from "../kernels/blocks";
import { nativeKernels, nativeKernelsProblem } from "../kernels/native";
import { MOST_CHANNELS } from "../kernels/native-jobs";
import { INPUTS_TOGETHER } from "../kernels/products";
import { RowMemory } from "../kernels/row-kernels";
import { SMALL_NETWORK_BYTES } from "./causal-network";
import { crossLayerNames } from "./cross-attention";
import { draftRowsParts } from "./draft-rows";
import { MOST_POSITIONS } from "./kv-cache";
import { hasPlainBlocks } from "./latent-rows";
import { type Int8Kernel, rowLevels } from "./linear";
import type { LoadOptions } from "./load-options";
import { encoderStateLayers } from "./networks";
import { innerLayers } from "./piece-latent";
import { pooledPatches } from "./pooled-rows";
import { normedHead, patchKeysHead } from "./row-heads";
import { RowNetwork, type RowNetworkParts } from "./row-network";

interface Source<C> {
  checkpoint: Weights & { config: C };
  /** As whose products rows are rounded. */
  int8Kernel: Int8Kernel;
}

/** Rows of the latent transformer that the kernels in WebAssembly run at a time; more are onnxruntime's. */
const LATENT_ROWS = 2;
/** Rows that the native kernels run at a time: more use weights that were read oftener, but those of byte networks make a window longer. */
const NATIVE_ROWS = { latent: 128, bytes: 32 };
/** Bytes of the latent transformer's weights at most; without native kernels they lie in onnxruntime's memory as well. */
const LATENT_BYTES = 512 * 2 ** 20;
/** Room for what a network has besides weights, keys and values. */
const BESIDES_BYTES = 2 ** 20;
/** Threads that rows are worth at most: a step is some 400 jobs, for all of which they meet. */
const MOST_THREADS = 4;

/**
 * A memory for the networks of a model, which work in turns; null where the row kernels cannot be used. Threads that help take 10 MB
 * each, so there are none where the latent transformer's weights are not for the kernels.
 */
export function rowMemory(
  checkpoint: Weights & { config: Pick<BltConfig, "latent"> },
  { device, threads, int8Kernel, nativeKernels: mayBeNative = int8Kernel === undefined }: LoadOptions,
): RowMemory | null {
  if (device !== "cpu") return null;
  const isNative = mayBeNative && nativeKernels() !== null;
  const most = fitsLatent(checkpoint, isNative) ? MOST_THREADS : 1;
  return RowMemory.create(Math.min(most, threads ?? availableParallelism()), isNative);
}

/** As which kernel rows are rounded beside sessions with this one: native products never saturate, so they need not be narrow. */
export function rounding(kernel: Int8Kernel, memory: RowMemory | null, options: LoadOptions): Int8Kernel {
  return kernel === "rows-narrow" && options.int8Kernel === undefined && memory?.isNative ? "rows" : kernel;
}

/** What multiplies a latent transformer's quantised weights, for people to read; null where it has none. */
export function kernelsOf(rowNetwork: RowNetwork | null, int8Kernel: Int8Kernel | null): string | null {
  if (rowNetwork?.runsAll) return `native, ${nativeKernels()!.variant}`;
  const problem = nativeKernelsProblem();
  return int8Kernel === null || problem === null ? int8Kernel : `${int8Kernel}; no native ones, as ${problem}`;
}

/** Loads a model beside such a memory; its threads end with a load that fails. */
export async function besideRowMemory<C extends Parameters<typeof rowMemory>[0], M>(
  checkpoint: C,
  options: LoadOptions,
  load: (memory: RowMemory | null) => Promise<M>,
): Promise<M> {
  const memory = rowMemory(checkpoint, options);
  try {
    return await load(memory);
  } catch (error) {
    await memory?.team.release();
    throw error;
  }
}

/** The latent transformer over patches as `latentGraph`; null where it is onnxruntime's. */
export function latentRows(source: Source<BltConfig>, memory: RowMemory | null): RowNetwork | null {
  const { config } = source.checkpoint;
  const levels = rowLevels(source.int8Kernel);
  const { hiddenSize } = config.encoder;
  const fitsEnds =
    [config.encoder, config.decoder].every(({ hiddenSize, crossAttentionHeads }) =>
      isHeadWidth(hiddenSize / crossAttentionHeads),
    ) && hiddenSize % INPUTS_TOGETHER === 0;
  if (levels === null || !fitsEnds) return null;
  return latentNetwork(source, memory, levels, pooledPatches(config), patchKeysHead(config));
}

/** The latent transformer over pieces as `pieceLatentGraph`; null where it is onnxruntime's. */
export function pieceRows(
  source: { checkpoint: LexiconCheckpoint; int8Kernel: Int8Kernel },
  memory: RowMemory | null,
): RowNetwork | null {
  const { latent, readoutMatrix } = source.checkpoint.config;
  if (source.int8Kernel === "float32") return null;
  const projection = readoutMatrix ? { name: readoutMatrixName, isExact: true } : null;
  const head = normedHead(latent.hiddenSize, latent.normEps, "model.lexicon.norm", projection);
  // Of int8 weights the readout matrix is not rounded, and others are the native kernels', which round to 8 bits.
  return latentNetwork(source, memory, 127, "embedding", head, innerLayers(source.checkpoint.config));
}

/** A lexicon model's draft layer, as `draftLayerGraph`; null where it is onnxruntime's. */
export function drafterRows(
  source: { checkpoint: LexiconCheckpoint; int8Kernel: Int8Kernel },
  pieces: readonly number[],
  memory: RowMemory | null,
): RowNetwork | null {
  // In WebAssembly nothing reads out some of the pieces.
  return memory?.isNative ? rowNetwork(source, memory, draftRowsParts(source.checkpoint, pieces)) : null;
}

/** The layers of a latent transformer alone, as many as `config` has; null where they are onnxruntime's. */
export function layerRows(checkpoint: Weights, config: TransformerConfig, memory: RowMemory | null): RowNetwork | null {
  const source = { checkpoint: { ...checkpoint, config: { latent: config } }, int8Kernel: "rows" } as const;
  return latentNetwork(source, memory, 127, "embedding", null, [config.layers - 1]);
}

function latentNetwork(
  { checkpoint }: Source<Pick<BltConfig, "latent">>,
  memory: RowMemory | null,
  levels: number,
  input: RowNetworkParts["input"],
  head: RowNetworkParts["head"],
  resultLayers: readonly number[] = [],
): RowNetwork | null {
  if (memory === null || !fitsLatent(checkpoint, memory.isNative)) return null;
  const parts: RowNetworkParts = {
    prefix: "model.global_transformer",
    config: checkpoint.config.latent,
    input,
    resultLayers,
    head,
    cross: null,
  };
  return networkIn(memory, checkpoint, parts, levels, memory.isNative ? NATIVE_ROWS.latent : LATENT_ROWS);
}

/** @param isNative whether int8 rows are run as well: the native kernels run all of them, so that onnxruntime has no copy */
function fitsLatent(checkpoint: Weights & { config: Pick<BltConfig, "latent"> }, isNative: boolean): boolean {
  const config = checkpoint.config.latent;
  const { hiddenSize, intermediateSize, heads, headDim, layers } = config;
  const matrices = [...checkpoint.tensors.values()].filter(
    ({ name, shape }) => shape.length >= 2 && name.startsWith("model.global_transformer.layers."),
  );
  const isInteger = isNative && matrices.every(({ dtype }) => dtype === "I8");
  return (
    layers > 0 &&
    (isInteger || hasPlainBlocks(checkpoint, config)) &&
    [hiddenSize, intermediateSize, heads * headDim].every((width) => width % BLOCK_INPUTS === 0) &&
    isHeadWidth(headDim) &&
    matrices.reduce((sum, { length }) => sum + length, 0) < LATENT_BYTES
  );
}

/** The entropy model, as `patcherGraph`; null where it is onnxruntime's. */
export function patcherRows(source: Source<Pick<BltConfig, "patcher">>, memory: RowMemory | null): RowNetwork | null {
  return rowNetwork(source, memory, {
    prefix: "model.patcher",
    config: source.checkpoint.config.patcher!,
    input: "embedding",
    resultLayers: [],
    head: bytesHead(source.checkpoint.config.patcher!, "model.patcher.norm", "model.patcher.lm_head"),
    cross: null,
  });
}

/** The local encoder, as `encoderGraph`; null where it is onnxruntime's. */
export function encoderRows(source: Source<BltConfig>, memory: RowMemory | null): RowNetwork | null {
  const { config } = source.checkpoint;
  return rowNetwork(source, memory, {
    prefix: "model.local_encoder",
    config: config.encoder,
    input: "embedding",
    resultLayers: encoderStateLayers(config),
    head: null,
    cross: null,
  });
}

/** The local decoder as `decoderGraph`; null where it is onnxruntime's. */
export function decoderRows(source: Source<BltConfig>, memory: RowMemory | null): RowNetwork | null {
  const { decoder, crossAttentionK, crossAttentionWindow } = source.checkpoint.config;
  return rowNetwork(source, memory, {
    prefix: "model.local_decoder",
    config: decoder,
    input: "states",
    resultLayers: [],
    head: bytesHead(decoder, "model.local_decoder.norm", "lm_head"),
    cross: {
      names: crossLayerNames("model.local_decoder", decoder),
      config: decoder,
      k: crossAttentionK,
      patches: crossAttentionWindow.decoder,
    },
  });
}

function bytesHead({ hiddenSize, normEps }: TransformerConfig, norm: string, name: string): RowNetworkParts["head"] {
  return normedHead(hiddenSize, normEps, norm, { name, isExact: false });
}

function rowNetwork(
  { checkpoint, int8Kernel }: Source<unknown>,
  memory: RowMemory | null,
  parts: RowNetworkParts,
): RowNetwork | null {
  const levels = rowLevels(int8Kernel);
  if (memory === null || levels === null || !fits(checkpoint, parts)) return null;
  return networkIn(memory, checkpoint, parts, levels, memory.isNative ? NATIVE_ROWS.bytes : 1);
}

/** Null where there is no room: addresses reach 4 GB, and the system may have less. */
function networkIn(
  memory: RowMemory,
  checkpoint: Weights,
  parts: RowNetworkParts,
  levels: number,
  most: number,
): RowNetwork | null {
  const weights = [...checkpoint.tensors.values()].filter(({ name }) => name.startsWith(`${parts.prefix}.`));
  // Floats become float32, the scales of blocks among them.
  const bytes = weights.reduce((sum, { dtype, length }) => sum + (/F16$/.test(dtype) ? 2 : 1) * length, 0);
  const hasRoom = memory.reserve(bytes + seenBytes(parts) + BESIDES_BYTES);
  if (!hasRoom) return null;
  try {
    return new RowNetwork(memory, checkpoint, parts, levels, most, bytes);
  } catch (error) {
    // What lies around the layers had no room either.
    if (error instanceof RangeError) return null;
    throw error;
  }
}

function fits(checkpoint: Weights, parts: RowNetworkParts): boolean {
  const { prefix, config, cross } = parts;
  const { hiddenSize, intermediateSize, headDim, layers, window } = config;
  const heads = [headDim];
  if (cross !== null) heads.push(hiddenSize / cross.config.crossAttentionHeads);
  const prefixes = [`${prefix}.layers.`, ...(cross?.names ?? []).map((name) => `${name}.`)];
  const matrices = [...checkpoint.tensors.values()].filter(
    ({ name, shape }) => shape.length === 2 && prefixes.some((each) => name.startsWith(each)),
  );
  return (
    window !== null &&
    layers > 0 &&
    [hiddenSize, intermediateSize].every((width) => width % INPUTS_TOGETHER === 0) &&
    heads.every(isHeadWidth) &&
    matrices.every(({ dtype }) => dtype === "I8") &&
    matrices.reduce((sum, { length }) => sum + length, 0) < SMALL_NETWORK_BYTES &&
    seenBytes(parts) < SMALL_NETWORK_BYTES
  );
}

function isHeadWidth(width: number): boolean {
  return width % INPUTS_TOGETHER === 0 && width <= MOST_CHANNELS;
}

/** Bytes of the keys and values that one row can see, for all of which room is made at once. */
function seenBytes({ config, cross }: RowNetworkParts): number {
  const { layers, kvHeads, headDim, window } = config;
  const positions = layers * kvHeads * headDim * (window ?? MOST_POSITIONS);
  if (cross === null) return 8 * positions;
  const { hiddenSize, crossAttentionHeads, crossAttentionKvHeads } = cross.config;
  const width = crossAttentionKvHeads * (hiddenSize / crossAttentionHeads);
  return 8 * (positions + cross.names.length * width * cross.k * cross.patches);
}
