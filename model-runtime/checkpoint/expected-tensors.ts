/** The tensors a configuration implies (blt-spec section 10.2), by Hugging Face name. No biases, no buffers. */
import type { BltConfig, LocalConfig, TransformerConfig } from "./config";

/** The fused hash table: slot s has rows [s V, (s + 1) V), V = `hash.vocab`. */
export const hashTableName = "model.encoder_hash_tok_embedding.weight";

/** Prefix of the entropy model's tensors. */
export const patcherPrefix = "model.patcher.";

/** Number of hash tables: one for each hash function and n-gram length. */
export function hashTableCount(config: BltConfig): number {
  return config.hash.functions * config.hash.groupSizes.length;
}

/** Shape of every tensor; matrices are [out, in], tables [rows, width]. The patcher's only when the config has one. */
export function expectedTensors(config: BltConfig): Map<string, number[]> {
  const shapes = new Map<string, number[]>();
  const { encoder, decoder, latent, patcher, crossAttentionK: k, vocabSize } = config;
  const width = encoder.hiddenSize;

  shapes.set("model.local_encoder.embed_tokens.weight", [vocabSize, width]);
  if (hashTableCount(config) > 0) shapes.set(hashTableName, [hashTableCount(config) * config.hash.vocab, width]);
  addBlocks(shapes, "model.local_encoder.", encoder);
  shapes.set("model.local_encoder.patch_embedding_projection.weight", [k * width, width]);
  addCrossAttention(shapes, "model.local_encoder.", encoder);

  if (k * width !== latent.hiddenSize) {
    shapes.set("model.global_transformer.token_embedding_projection.weight", [latent.hiddenSize, k * width]);
  }
  addBlocks(shapes, "model.global_transformer.", latent);

  shapes.set("model.local_decoder.patch_embedding_projection.weight", [k * decoder.hiddenSize, latent.hiddenSize]);
  addCrossAttention(shapes, "model.local_decoder.", decoder);
  addBlocks(shapes, "model.local_decoder.", decoder);
  shapes.set("model.local_decoder.norm.weight", [decoder.hiddenSize]);
  shapes.set("lm_head.weight", [vocabSize, decoder.hiddenSize]);

  if (patcher !== null) addPatcher(shapes, patcher, vocabSize);
  return shapes;
}

/** The entropy model's tensors. */
export function addPatcher(shapes: Map<string, number[]>, patcher: TransformerConfig, vocabSize: number): void {
  shapes.set(`${patcherPrefix}embed_tokens.weight`, [vocabSize, patcher.hiddenSize]);
  addBlocks(shapes, patcherPrefix, patcher);
  shapes.set(`${patcherPrefix}norm.weight`, [patcher.hiddenSize]);
  shapes.set(`${patcherPrefix}lm_head.weight`, [vocabSize, patcher.hiddenSize]);
}

/** The tensors of a stack of transformer blocks. */
export function addBlocks(shapes: Map<string, number[]>, prefix: string, config: TransformerConfig): void {
  const { hiddenSize, intermediateSize, heads, kvHeads, headDim } = config;
  for (let layer = 0; layer < config.layers; layer++) {
    const block = `${prefix}layers.${layer}.`;
    shapes.set(`${block}input_layernorm.weight`, [hiddenSize]);
    addProjections(shapes, `${block}self_attn.`, hiddenSize, heads * headDim, kvHeads * headDim);
    shapes.set(`${block}post_attention_layernorm.weight`, [hiddenSize]);
    shapes.set(`${block}mlp.gate_proj.weight`, [intermediateSize, hiddenSize]);
    shapes.set(`${block}mlp.up_proj.weight`, [intermediateSize, hiddenSize]);
    shapes.set(`${block}mlp.down_proj.weight`, [hiddenSize, intermediateSize]);
  }
}

function addCrossAttention(shapes: Map<string, number[]>, prefix: string, config: LocalConfig): void {
  const { hiddenSize, crossAttentionHeads: heads, crossAttentionKvHeads: kvHeads } = config;
  const layers = config.crossAttentionAllLayers ? config.layers : 1;
  for (let layer = 0; layer < layers; layer++) {
    const block = `${prefix}cross_attn_layers.${layer}.`;
    shapes.set(`${block}q_norm.weight`, [hiddenSize]);
    shapes.set(`${block}k_norm.weight`, [hiddenSize]);
    addProjections(shapes, block, hiddenSize, hiddenSize, (hiddenSize / heads) * kvHeads);
  }
}

function addProjections(shapes: Map<string, number[]>, block: string, width: number, query: number, key: number): void {
  shapes.set(`${block}q_proj.weight`, [query, width]);
  shapes.set(`${block}k_proj.weight`, [key, width]);
  shapes.set(`${block}v_proj.weight`, [key, width]);
  shapes.set(`${block}o_proj.weight`, [width, query]);
}
