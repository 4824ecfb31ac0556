/** `BltConfig` -> the JSON of a Hugging Face `config.json`, with every value written out; the inverse of `parseConfig`. */
import type { BltConfig, LocalConfig, TransformerConfig } from "./config";
import { formatQuantization } from "./quantization-fields";

/** Keys transformers does not know (windows, newline reset and so on) are ignored by it and read by us. */
export function formatConfig(config: BltConfig): Record<string, unknown> {
  const { patching, hash, patcher, encoder, decoder, latent, crossAttentionK: k } = config;
  const crossOutput = k * encoder.hiddenSize;
  return {
    model_type: "blt",
    architectures: ["BltForCausalLM"],
    vocab_size: config.vocabSize,
    tie_word_embeddings: false,
    patch_in_forward: patcher !== null,
    patching_mode: patching.mode,
    patching_threshold: patching.threshold,
    patching_threshold_add: patching.thresholdAdd,
    monotonicity: patching.monotonic,
    newline_reset: patching.newlineReset,
    patch_size: patching.patchSize,
    max_patch_length: patching.maxPatchLength,
    min_patch_length: patching.minPatchLength,
    cross_attn_k: k,
    cross_attn_window_encoder: config.crossAttentionWindow.encoder,
    cross_attn_window_decoder: config.crossAttentionWindow.decoder,
    encoder_hash_byte_group_size: hash.groupSizes,
    encoder_hash_byte_group_vocab: hash.vocab,
    encoder_hash_byte_group_nb_functions: hash.functions,
    ...(patcher === null ? {} : { patcher_config: { ...formatTransformer("blt_patcher", patcher), vocab_size: 260 } }),
    encoder_config: formatLocal("blt_local_encoder", encoder, config),
    decoder_config: formatLocal("blt_local_decoder", decoder, config),
    global_config: {
      ...formatTransformer("blt_global_transformer", latent),
      encoder_cross_output_size: crossOutput === latent.hiddenSize ? null : crossOutput,
    },
    ...(config.quantization === null ? {} : { quantization_config: formatQuantization(config.quantization) }),
  };
}

function formatTransformer(modelType: string, config: TransformerConfig): Record<string, unknown> {
  return {
    model_type: modelType,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    num_key_value_heads: config.kvHeads,
    rms_norm_eps: config.normEps,
    rope_parameters: { rope_theta: config.ropeTheta, rope_type: "default" },
    hidden_act: "silu",
    sliding_window: config.window,
  };
}

function formatLocal(modelType: string, local: LocalConfig, config: BltConfig): Record<string, unknown> {
  return {
    ...formatTransformer(modelType, local),
    vocab_size: config.vocabSize,
    cross_attn_k: config.crossAttentionK,
    cross_attn_all_layers: local.crossAttentionAllLayers,
    cross_attn_nheads: local.crossAttentionHeads,
    cross_attn_num_key_value_heads: local.crossAttentionKvHeads,
    hidden_size_global: config.latent.hiddenSize,
  };
}
