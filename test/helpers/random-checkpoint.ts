/** Random BLT checkpoints of any shape, in the Hugging Face layout: what golden files of two fixed shapes do not show. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expectedTensors } from "../../model-runtime/checkpoint/expected-tensors";
import { parseConfig } from "../../model-runtime/checkpoint/parse-config";
import { type TensorSource, writeSafetensors } from "../../model-runtime/checkpoint/write-safetensors";

/** Sizes of a checkpoint; key/value heads divide heads, heads divide widths, the decoder is as wide as the encoder. */
export interface RandomShape {
  k: number;
  localWidth: number;
  localHeads: number;
  localKvHeads: number;
  encoderLayers: number;
  /** Whether patches look at the states of all encoder layers; else at the last one's. */
  encoderAllLayers: boolean;
  decoderLayers: number;
  latentWidth: number;
  latentHeads: number;
  latentKvHeads: number;
  latentLayers: number;
  patcherLayers: number;
  patcherWidth: number;
  hashGroups: number[];
  hashFunctions: number;
  threshold: number;
}

const base: RandomShape = {
  k: 1,
  localWidth: 24,
  localHeads: 3,
  localKvHeads: 3,
  encoderLayers: 2,
  encoderAllLayers: false,
  decoderLayers: 2,
  latentWidth: 40,
  latentHeads: 4,
  latentKvHeads: 2,
  latentLayers: 3,
  patcherLayers: 1,
  patcherWidth: 16,
  hashGroups: [3, 5],
  hashFunctions: 2,
  threshold: 2.5,
};
/** Shapes that differ in all that the graphs depend on; each patches unevenly. */
export const randomShapes: [string, RandomShape][] = [
  ["k 1, projected patches, grouped latent heads, two hash functions", base],
  ["k 3, as wide as its patches, grouped local heads", { ...base, k: 3, localKvHeads: 1, latentWidth: 72 }],
  ["k 4, one head for all keys, three patcher layers", { ...base, k: 4, latentKvHeads: 1, patcherLayers: 3 }],
  ["k 2, no hash tables, one layer each", { ...base, k: 2, hashGroups: [], encoderLayers: 1, decoderLayers: 1 }],
];

/** Writes `config.json` and `model.safetensors` into a new folder; equal seeds give equal weights. */
export async function writeRandomCheckpoint(folder: string, shape: RandomShape, seed: number): Promise<void> {
  const json = configOf(shape);
  const where = join(folder, "config.json");
  const random = randomNumbers(seed);
  const tensors = [...expectedTensors(parseConfig(json, { where }))].map(([name, dims]): TensorSource => {
    const values = Float32Array.from({ length: dims.reduce((a, b) => a * b) }, () => random() * spread(name, dims));
    if (dims.length === 1) for (let i = 0; i < values.length; i++) values[i] += 1;
    return { name, dtype: "F32", shape: dims, chunks: () => [new Uint8Array(values.buffer)] };
  });
  mkdirSync(folder, { recursive: true });
  writeFileSync(where, JSON.stringify(json));
  await writeSafetensors(join(folder, "model.safetensors"), tensors);
}

/** Products keep the size of what goes in; heads are larger, so that entropies and the likeliest byte vary. */
function spread(name: string, dims: readonly number[]): number {
  if (dims.length === 1) return 0.1;
  if (name.endsWith("lm_head.weight")) return 4 / Math.sqrt(dims[1]);
  return name.includes("embed") && !name.includes("projection") ? 1 : 1.5 / Math.sqrt(dims[1]);
}

function configOf(shape: RandomShape): Record<string, unknown> {
  const common = { hidden_act: "silu", rms_norm_eps: 1e-5, vocab_size: 260, cross_attn_k: shape.k };
  const stack = (width: number, heads: number, kvHeads: number, layers: number) => ({
    ...common,
    hidden_size: width,
    intermediate_size: 2 * width,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    num_hidden_layers: layers,
    max_position_embeddings: 4096,
    rope_theta: 10000,
  });
  const local = { ...stack(shape.localWidth, shape.localHeads, shape.localKvHeads, 1) };
  return {
    model_type: "blt",
    vocab_size: 260,
    patch_in_forward: true,
    patching_mode: "entropy",
    patching_threshold: shape.threshold,
    cross_attn_k: shape.k,
    encoder_hash_byte_group_size: shape.hashGroups,
    encoder_hash_byte_group_vocab: 101,
    encoder_hash_byte_group_nb_functions: shape.hashFunctions,
    tie_word_embeddings: false,
    patcher_config: { ...stack(shape.patcherWidth, 2, 1, shape.patcherLayers), model_type: "blt_patcher" },
    encoder_config: { ...local, num_hidden_layers: shape.encoderLayers, cross_attn_all_layers: shape.encoderAllLayers },
    decoder_config: { ...local, num_hidden_layers: shape.decoderLayers, cross_attn_all_layers: true },
    global_config: stack(shape.latentWidth, shape.latentHeads, shape.latentKvHeads, shape.latentLayers),
  };
}

/** Roughly normal numbers (mean 0, deviation 1) from a linear congruential generator. */
function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return () => uniform() + uniform() + uniform() + uniform() + uniform() + uniform() - 3;
}
