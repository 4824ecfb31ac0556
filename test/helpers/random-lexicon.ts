/** Random lexicon checkpoints of any shape, in 4-bit blocks without minima: the golden ones are narrower than the row kernels take. */
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { encodeValues } from "../../model-runtime/checkpoint/encode-values";
import { parseLexiconConfig } from "../../model-runtime/checkpoint/lexicon-config";
import { drafterPrefix, expectedLexiconTensors, pieceEmbeddingName } from "../../model-runtime/checkpoint/open-lexicon";
import { BLOCK_SIZE, scaleName } from "../../model-runtime/checkpoint/tensor-data";
import { type TensorSource, writeSafetensors } from "../../model-runtime/checkpoint/write-safetensors";
import { createRandom } from "../../model-runtime/generation/random";
import { CausalNetwork } from "../../model-runtime/model/causal-network";
import type { LexiconModel } from "../../model-runtime/model/lexicon-model";
import { appliedAdapter, type LowRank } from "../../model-runtime/model/low-rank";
import { type PieceNetworks, pieceLatentGraph } from "../../model-runtime/model/piece-latent";
import { ComparedRuns } from "./compared-runs";

/** Sizes of a latent transformer over the golden pieces; its widths are multiples of 32. */
export interface LexiconShape {
  width: number;
  heads: number;
  kvHeads: number;
  layers: number;
  readoutMatrix: boolean;
  /** A draft layer that proposes so many pieces and sees these layers; its weights and the embedding are int8 rows then. */
  drafter?: { pieces: number; innerLayers: number[]; window: number };
}

/** Writes a checkpoint into a new folder; equal seeds give equal weights. */
export async function writeRandomLexicon(folder: string, shape: LexiconShape, seed: number): Promise<void> {
  const golden = join(__dirname, "../golden/lexicon/symmetric");
  mkdirSync(folder, { recursive: true });
  cpSync(join(golden, "tokenizer.json"), join(folder, "tokenizer.json"));
  const json = JSON.parse(readFileSync(join(golden, "config.json"), "utf8"));
  Object.assign(json.global_config, {
    hidden_size: shape.width,
    num_hidden_layers: shape.layers,
    num_attention_heads: shape.heads,
    num_key_value_heads: shape.kvHeads,
    head_dim: shape.width / shape.heads,
    intermediate_size: 2 * shape.width,
  });
  json.lexicon_config.readout_matrix = shape.readoutMatrix;
  if (shape.drafter) {
    const { pieces, innerLayers, window } = shape.drafter;
    const { num_hidden_layers: _, ...latent } = json.global_config;
    json.drafter_config = { ...latent, sliding_window: window, vocab_size: pieces, inner_layers: innerLayers };
  }
  const where = join(folder, "config.json");
  writeFileSync(where, JSON.stringify(json));
  const random = createRandom(seed);
  const tensors = [...expectedLexiconTensors(parseLexiconConfig(json, where, new Map()))].flatMap(([name, dims]) => {
    if (name === `${drafterPrefix}pieces`) return [numbersUpTo(name, dims[0])];
    const isProjection = name.includes("_proj.");
    if (shape.drafter && (name === pieceEmbeddingName || (isProjection && name.startsWith(drafterPrefix))))
      return integers(name, dims, random);
    return isProjection ? blocks(name, dims, random) : floats(name, dims, random);
  });
  await writeSafetensors(join(folder, "model.safetensors"), tensors);
}

/** Pieces 1, 2, ... */
function numbersUpTo(name: string, count: number): TensorSource {
  const values = Float32Array.from({ length: count }, (_, i) => i + 1);
  return { name, dtype: "F32", shape: [count], chunks: () => [encodeValues(values, "F32", name)] };
}

/** Int8 rows, whose products keep the size of what goes in. */
function integers(name: string, [outputs, inputs]: number[], random: () => number): TensorSource[] {
  const numbers = Uint8Array.from({ length: outputs * inputs }, () => Math.floor(255 * random()) - 127);
  const scales = Float32Array.from({ length: outputs }, () => (0.5 + random()) / (60 * Math.sqrt(inputs)));
  return [
    { name, dtype: "I8", shape: [outputs, inputs], chunks: () => [numbers] },
    { name: scaleName(name), dtype: "F32", shape: [outputs], chunks: () => [encodeValues(scales, "F32", name)] },
  ];
}

/** Numbers of blocks, whose products keep the size of what goes in. */
function blocks(name: string, [outputs, inputs]: number[], random: () => number): TensorSource[] {
  const numbers = Uint8Array.from({ length: (outputs * inputs) / 2 }, () => 256 * random());
  const scales = Float32Array.from(
    { length: (outputs * inputs) / BLOCK_SIZE },
    () => ((random() < 0.5 ? -1 : 1) * (0.5 + random())) / (3 * Math.sqrt(inputs)),
  );
  const shape = [outputs, inputs / BLOCK_SIZE];
  return [
    { name, dtype: "U8", shape: [...shape, BLOCK_SIZE / 2], chunks: () => [numbers] },
    { name: scaleName(name), dtype: "F16", shape, chunks: () => [encodeValues(scales, "F16", name)] },
  ];
}

/** Norms around one; rows of the embedding long enough for masses that are far from even. */
function floats(name: string, dims: number[], random: () => number): TensorSource[] {
  const size = dims.length === 1 ? 0.2 : 2 * Math.sqrt(3 / dims[1]);
  const values = Float32Array.from(
    { length: dims.reduce((a, b) => a * b) },
    () => (dims.length === 1 ? 1 : 0) + size * (2 * random() - 1),
  );
  return [{ name, dtype: "F32", shape: dims, chunks: () => [encodeValues(values, "F32", name)] }];
}

/** The layers that a model has now, watched; `adapter` is theirs. */
export async function comparedLayers(model: LexiconModel, adapter: LowRank | null): Promise<ComparedRuns> {
  const { checkpoint, int8Kernel } = model;
  const { networks } = model as unknown as { networks: PieceNetworks };
  const applied = adapter === null ? undefined : appliedAdapter(adapter, checkpoint);
  const graph = pieceLatentGraph({ checkpoint, int8Kernel, adapter: applied, byteKeys: true });
  const options = { device: "cpu", threads: 1 } as const;
  return new ComparedRuns(networks.layers, await CausalNetwork.load(() => graph, checkpoint.config.latent, options));
}
