/** Hugging Face's `config.json` of model type `blt` (blt-spec section 9.1), and the keys we add to it. */
import { UserError } from "../errors";
import type { BltConfig, LocalConfig, TransformerConfig } from "./config";
import { asFields, describe, type Fields, flag, integer, integers, real, section } from "./json-fields";
import { maxHashVocab, maxLayers, parsePatching, trainedWindow } from "./patching-fields";
import { parseQuantization } from "./quantization-fields";

/** Shapes of a checkpoint's tensors by Hugging Face name. */
export type Shapes = ReadonlyMap<string, readonly number[]>;

/** The configuration as the file states it; a key it lacks has the default of transformers 5.18.0. */
export function parseHuggingFaceConfig(fields: Fields, shapes: Shapes): BltConfig {
  const modelType = fields.values.model_type;
  if (modelType !== undefined && modelType !== "blt") {
    throw new UserError(`${fields.where} is of model type ${describe(modelType)}; only "blt" can be loaded.`);
  }
  const sub = (name: string) => section(fields, name) ?? asFields({}, `${name} of ${fields.where}`);
  const [patcher, encoder, decoder, latent] = [
    "patcher_config",
    "encoder_config",
    "decoder_config",
    "global_config",
  ].map(sub);

  const vocabSize = integer(fields, "vocab_size", { fallback: 260 });
  for (const part of [patcher, encoder, decoder]) agree(part, "vocab_size", vocabSize, `vocab_size of ${fields.where}`);
  const crossAttentionK = integer(fields, "cross_attn_k", {
    fallback: integer(encoder, "cross_attn_k", { fallback: 2 }),
    max: 256,
  });
  for (const part of [encoder, decoder])
    agree(part, "cross_attn_k", crossAttentionK, `cross_attn_k of ${fields.where}`);

  const latentConfig = parseHuggingFaceLatent(latent, shapes);
  // The encoder repeats this key too but nothing reads it, so transformers writes its default of 2048 there.
  agree(decoder, "hidden_size_global", latentConfig.hiddenSize, `hidden_size of ${latent.where}`);
  const byteWindow = integer(fields, "local_attention_window_len", { fallback: null });

  const hasPatcher = flag(fields, "patch_in_forward", { fallback: true }) || section(fields, "patcher_config") !== null;
  const functions = integer(fields, "encoder_hash_byte_group_nb_functions", { fallback: 1, min: 0, max: 64 });
  const groupSizes = integers(fields, "encoder_hash_byte_group_size", { fallback: [], max: 64 });
  return {
    vocabSize,
    patching: parsePatching(fields),
    crossAttentionK,
    crossAttentionWindow: {
      encoder: integer(fields, "cross_attn_window_encoder", { fallback: 1 }),
      decoder: integer(fields, "cross_attn_window_decoder", { fallback: 1 }),
    },
    hash: {
      groupSizes: functions === 0 ? [] : groupSizes.length > 0 ? groupSizes : [3, 4, 5, 6, 7, 8],
      vocab: integer(fields, "encoder_hash_byte_group_vocab", { fallback: 500002, max: maxHashVocab }),
      functions,
    },
    patcher: hasPatcher ? parseHuggingFacePatcher(patcher, shapes) : null,
    encoder: localConfig(fields, encoder, encoderDefaults, "model.local_encoder", shapes, byteWindow, false),
    latent: latentConfig,
    decoder: localConfig(fields, decoder, decoderDefaults, "model.local_decoder", shapes, byteWindow, true),
    semantics: "meta",
    quantization: parseQuantization(fields),
  };
}

/** The latent transformer's part, `global_config`. */
export function parseHuggingFaceLatent(fields: Fields, shapes: Shapes): TransformerConfig {
  return transformerConfig(fields, latentDefaults, "model.global_transformer", shapes, null);
}

/** The entropy model's part: `patcher_config`, or the whole file of a patcher saved by itself. */
export function parseHuggingFacePatcher(fields: Fields, shapes: Shapes): TransformerConfig {
  return transformerConfig(fields, patcherDefaults, "model.patcher", shapes, window(fields, null));
}

/** A lexicon model's draft layer, `drafter_config`. */
export function parseHuggingFaceDrafter(fields: Fields, shapes: Shapes): TransformerConfig {
  return transformerConfig(
    fields,
    { ...latentDefaults, layers: 1 },
    "model.lexicon.drafter",
    shapes,
    window(fields, null),
  );
}

interface TransformerDefaults {
  hiddenSize: number;
  layers: number;
  heads: number;
  /** Null: int(8 h / 3). */
  intermediateSize: number | null;
  ropeTheta: number;
}

// Defaults of transformers 5.18.0, which are the sizes of blt-1b.
const patcherDefaults = { hiddenSize: 768, layers: 14, heads: 12, intermediateSize: 2048, ropeTheta: 10000 };
const encoderDefaults = { hiddenSize: 1024, layers: 1, heads: 16, intermediateSize: null, ropeTheta: 500000 };
const decoderDefaults = { hiddenSize: 1024, layers: 9, heads: 16, intermediateSize: 2816, ropeTheta: 500000 };
const latentDefaults = { hiddenSize: 2048, layers: 25, heads: 16, intermediateSize: 5632, ropeTheta: 500000 };

function transformerConfig(
  fields: Fields,
  defaults: TransformerDefaults,
  prefix: string,
  shapes: Shapes,
  windowSize: number | null,
): TransformerConfig {
  const hiddenSize = integer(fields, "hidden_size", { fallback: defaults.hiddenSize });
  const heads = integer(fields, "num_attention_heads", { fallback: defaults.heads });
  if (fields.values.hidden_act !== undefined && fields.values.hidden_act !== "silu") {
    throw new UserError(
      `"hidden_act" in ${fields.where} is ${describe(fields.values.hidden_act)}; only "silu" is known.`,
    );
  }
  agree(fields, "head_dim", hiddenSize / heads, "hidden_size / num_attention_heads");
  const gate = shapes.get(`${prefix}.layers.0.mlp.gate_proj.weight`);
  const defaultWidth = gate?.[0] ?? ("intermediate_size" in fields.values ? null : defaults.intermediateSize);
  return {
    hiddenSize,
    layers: integer(fields, "num_hidden_layers", { fallback: defaults.layers, max: maxLayers }),
    heads,
    kvHeads: integer(fields, "num_key_value_heads", { fallback: heads }),
    headDim: hiddenSize / heads,
    intermediateSize: integer(fields, "intermediate_size", {
      fallback: defaultWidth ?? Math.floor((8 * hiddenSize) / 3),
    }),
    ropeTheta: ropeTheta(fields, defaults.ropeTheta),
    normEps: real(fields, ["rms_norm_eps", "norm_eps"], { fallback: 1e-5, min: 0 }),
    window: windowSize,
  };
}

function localConfig(
  top: Fields,
  fields: Fields,
  defaults: TransformerDefaults,
  prefix: string,
  shapes: Shapes,
  byteWindow: number | null,
  allLayers: boolean,
): LocalConfig {
  const transformer = transformerConfig(fields, defaults, prefix, shapes, window(fields, byteWindow));
  const topHeads = integer(top, "cross_attn_nheads", { fallback: transformer.heads });
  const crossAttentionHeads = integer(fields, "cross_attn_nheads", { fallback: topHeads });
  // transformers gives the cross-attention the heads of the self-attention, key/value heads included.
  const kvHeads = crossAttentionHeads === transformer.heads ? transformer.kvHeads : crossAttentionHeads;
  return {
    ...transformer,
    crossAttentionAllLayers: flag(fields, "cross_attn_all_layers", { fallback: allLayers }),
    crossAttentionHeads,
    crossAttentionKvHeads: integer(fields, "cross_attn_num_key_value_heads", { fallback: kvHeads }),
  };
}

/** An explicit null under `sliding_window` is the statement that there is none. */
function window(fields: Fields, byteWindow: number | null): number | null {
  if (fields.values.sliding_window === null) return null;
  return integer(fields, ["sliding_window", "local_attention_window_len"], { fallback: byteWindow ?? trainedWindow });
}

function ropeTheta(fields: Fields, fallback: number): number {
  const parameters = section(fields, "rope_parameters");
  for (const rope of [parameters, section(fields, "rope_scaling")]) {
    const type = rope?.values.rope_type ?? rope?.values.type ?? "default";
    if (type !== "default") {
      throw new UserError(`"rope_type" in ${rope!.where} is ${describe(type)}; only "default" (no scaling) is known.`);
    }
  }
  const theta = real(fields, "rope_theta", { fallback, min: 1 });
  return parameters === null ? theta : real(parameters, "rope_theta", { fallback: theta, min: 1 });
}

/** Refuses a key that is given and differs from the value it has to repeat. */
function agree(fields: Fields, name: string, expected: number, source: string): void {
  const value = fields.values[name];
  if (value !== undefined && value !== null && value !== expected) {
    throw new UserError(
      `"${name}" in ${fields.where} is ${describe(value)}, but ${source} makes it ${expected}; make them agree.`,
    );
  }
}
