/** Meta's `config.json` (`{"args": ...}`, blt-spec section 9.2), `train_args.json` and the entropy model's `params.json`. */
import { UserError } from "../errors";
import type { BltConfig, LocalConfig, TransformerConfig } from "./config";
import { asFields, describe, type Fields, flag, integer, integers, real, section } from "./json-fields";
import { maxHashVocab, maxLayers, parsePatching, trainedWindow } from "./patching-fields";

/** The model arguments when `fields` is a configuration in Meta's layout, else null. */
export function metaArguments(fields: Fields): Fields | null {
  if ("dim_global" in fields.values) return fields;
  const args = section(fields, "args");
  return args !== null && "dim_global" in args.values ? args : null;
}

/**
 * The configuration without its entropy model. Patching settings come from `data.patcher_args` of `train_args.json`
 * where there is one: the entropy model's own `params.json` says `byte`, which is how *it* was trained.
 */
export function parseMetaConfig(args: Fields, trainArgs: unknown): BltConfig {
  refuseVariants(args);
  const hashFunctions = integer(args, "encoder_hash_byte_group_nb_functions", { fallback: 1, min: 0, max: 64 });
  const groupSizes = integers(args, "encoder_hash_byte_group_size", { fallback: [], max: 64 });
  return {
    vocabSize: integer(args, "vocab_size", { fallback: 260 }),
    patching: parsePatching(patcherArguments(trainArgs) ?? args),
    crossAttentionK: integer(args, "cross_attn_k", { max: 256 }),
    crossAttentionWindow: {
      encoder: integer(args, "cross_attn_window_encoder", { fallback: 1 }),
      decoder: integer(args, "cross_attn_window_decoder", { fallback: 1 }),
    },
    hash: {
      groupSizes: hashFunctions === 0 ? [] : groupSizes,
      vocab: integer(args, "encoder_hash_byte_group_vocab", { fallback: 30000, max: maxHashVocab }),
      functions: groupSizes.length === 0 ? 0 : hashFunctions,
    },
    patcher: null,
    encoder: localConfig(args, "encoder"),
    latent: transformerConfig(args, {
      hiddenSize: integer(args, "dim_global"),
      layers: integer(args, "n_layers_global", { max: maxLayers }),
      heads: integer(args, "n_heads_global"),
      kvHeads: integer(args, "n_kv_heads_global", { fallback: null }),
      window: null,
    }),
    decoder: localConfig(args, "decoder"),
    semantics: "meta",
    quantization: null,
  };
}

/** The entropy model's configuration: under `entropy_model` of `params.json`, or `args` of `config.json` (blt-spec section 3). */
export function parseMetaEntropyModel(fields: Fields): TransformerConfig {
  const training = section(fields, "entropy_model");
  const args = training ?? section(fields, "args") ?? fields;
  const hiddenSize = integer(args, "dim");
  const config = transformerConfig(args, {
    hiddenSize,
    layers: integer(args, "n_layers", { max: maxLayers }),
    heads: headCount(args, "n_heads", hiddenSize),
    kvHeads: integer(args, "n_kv_heads", { fallback: null }),
    window: integer(args, "sliding_window", { fallback: trainedWindow }),
  });
  if (integer(args, "vocab_size", { fallback: 260 }) !== 260) {
    throw new UserError(`"vocab_size" in ${args.where} is ${describe(args.values.vocab_size)}, but must be 260.`);
  }
  // Meta's loader hands on neither of these two from `params.json`, so the released model runs with the class defaults.
  return training === null ? config : { ...config, ropeTheta: 10000, window: trainedWindow };
}

interface Sizes {
  hiddenSize: number;
  layers: number;
  heads: number;
  kvHeads: number | null;
  window: number | null;
}

function transformerConfig(args: Fields, sizes: Sizes): TransformerConfig {
  const { hiddenSize, heads } = sizes;
  const headDim = integer(args, "head_dim", { fallback: hiddenSize / heads });
  if (headDim !== hiddenSize / heads) {
    throw new UserError(
      `"head_dim" in ${args.where} is ${headDim}, but ${heads} heads share ${hiddenSize} channels; make them agree.`,
    );
  }
  return {
    ...sizes,
    kvHeads: sizes.kvHeads ?? heads,
    headDim,
    intermediateSize: feedForwardWidth(args, hiddenSize),
    ropeTheta: real(args, "rope_theta", { fallback: 10000, min: 1 }),
    normEps: real(args, "norm_eps", { fallback: 1e-5, min: 0 }),
  };
}

function localConfig(args: Fields, side: "encoder" | "decoder"): LocalConfig {
  const hiddenSize = integer(args, `dim_local_${side}`);
  const transformer = transformerConfig(args, {
    hiddenSize,
    layers: integer(args, `n_layers_local_${side}`, { max: maxLayers }),
    heads: integer(args, `n_heads_local_${side}`),
    kvHeads: null,
    window: integer(args, "local_attention_window_len", { fallback: trainedWindow }),
  });
  const crossAttentionHeads = integer(args, "cross_attn_nheads", { fallback: transformer.heads });
  return {
    ...transformer,
    crossAttentionAllLayers: flag(args, `cross_attn_all_layers_${side}`, { fallback: false }),
    crossAttentionHeads,
    crossAttentionKvHeads: crossAttentionHeads,
  };
}

function headCount(args: Fields, name: string, hiddenSize: number): number {
  const headDim = integer(args, "head_dim", { fallback: null });
  return headDim === null ? integer(args, name) : integer(args, name, { fallback: hiddenSize / headDim });
}

/** Two thirds of 4 h, scaled, rounded up to a multiple (blt-spec section 5.2). */
function feedForwardWidth(args: Fields, hiddenSize: number): number {
  const multiplier = real(args, "ffn_dim_multiplier", { fallback: 1, min: 0 });
  const multiple = integer(args, "multiple_of", { fallback: 256 });
  const width = Math.floor(multiplier * Math.floor((8 * hiddenSize) / 3));
  return multiple * Math.ceil(width / multiple);
}

function patcherArguments(trainArgs: unknown): Fields | null {
  if (trainArgs === undefined) return null;
  const data = section(asFields(trainArgs, "train_args.json"), "data");
  return data === null ? null : section(data, "patcher_args");
}

/** Options of Meta's training code that change the network into one this runtime does not build. */
function refuseVariants(args: Fields): void {
  const built: Record<string, unknown> = {
    downsampling_by_pooling: "max",
    cross_attn_encoder: true,
    cross_attn_decoder: true,
    cross_attn_init_by_pooling: true,
    use_local_encoder_transformer: true,
    use_rope: true,
    encoder_enable_byte_ngrams: false,
    weight_tying: false,
    pm_size: 0,
    dim_token_emb: integer(args, "dim_local_encoder"),
  };
  for (const [name, supported] of Object.entries(built)) {
    const value = args.values[name];
    if (value !== undefined && value !== null && value !== supported) {
      throw new UserError(
        `"${name}" in ${args.where} is ${describe(value)}; only ${describe(supported)} can be loaded.`,
      );
    }
  }
}
