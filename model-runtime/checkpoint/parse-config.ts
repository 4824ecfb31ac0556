/**
 * `config.json` of either published layout -> `BltConfig` (blt-spec sections 9.1 and 9.2). Keys and aliases end
 * here; what contradicts itself or cannot be run is refused with the key's name.
 */
import { checkConfig, checkTransformer } from "./check-config";
import type { BltConfig, TransformerConfig } from "./config";
import { parseHuggingFaceConfig, parseHuggingFacePatcher, type Shapes } from "./hf-config";
import { asFields, section } from "./json-fields";
import { metaArguments, parseMetaConfig, parseMetaEntropyModel } from "./meta-config";

/**
 * `meta`: as the released weights were trained, windows of 512 bytes unless the config says otherwise. `hf`: what
 * transformers 5.18.0 computes from the same file: no window anywhere, byte patches unless the mode is entropy with
 * a patcher, only the plain threshold rule, own patch only in cross-attention (blt-spec section 19, 1-7).
 */
export type Semantics = BltConfig["semantics"];

export interface ParseOptions {
  /** Default `meta`. */
  semantics?: Semantics;
  /** The file, for errors. */
  where: string;
  /** Content of Meta's `train_args.json`: the patching settings that really apply (blt-spec section 3, trap). */
  trainArgs?: unknown;
  /** Shapes by Hugging Face name: settles a feed-forward width the config leaves out, for which transformers' default changed between versions. */
  shapes?: Shapes;
}

/**
 * Configuration of a checkpoint; `json` is the parsed `config.json`. In Meta's layout `patcher` is null: the entropy
 * model has a configuration of its own (`parseEntropyModelConfig`). Throws `UserError`.
 */
export function parseConfig(json: unknown, options: ParseOptions): BltConfig {
  const { semantics = "meta", where, trainArgs, shapes = new Map() } = options;
  const fields = asFields(json, where);
  const meta = metaArguments(fields);
  const config = meta === null ? parseHuggingFaceConfig(fields, shapes) : parseMetaConfig(meta, trainArgs);
  if (semantics === "hf") applyTransformersSemantics(config, meta === null && fields.values.patch_in_forward === false);
  checkConfig(config, where);
  return config;
}

/**
 * Configuration of an entropy model in a folder of its own; `json` is its `params.json` or `config.json` in Meta's
 * layout (blt-spec section 3) or the `config.json` of a Hugging Face checkpoint with a patcher. Throws `UserError`.
 */
export function parseEntropyModelConfig(json: unknown, options: ParseOptions): TransformerConfig {
  const { semantics = "meta", where, shapes = new Map() } = options;
  const fields = asFields(json, where);
  const isPatcher = fields.values.model_type === "blt_patcher";
  const huggingFace = isPatcher ? fields : section(fields, "patcher_config");
  const config = huggingFace === null ? parseMetaEntropyModel(fields) : parseHuggingFacePatcher(huggingFace, shapes);
  if (semantics === "hf") config.window = null;
  checkTransformer("patcher", config, where);
  return config;
}

function applyTransformersSemantics(config: BltConfig, patchless: boolean): void {
  config.semantics = "hf";
  for (const network of [config.patcher, config.encoder, config.latent, config.decoder]) {
    if (network !== null) network.window = null;
  }
  config.crossAttentionWindow = { encoder: 1, decoder: 1 };
  const patching = config.patching;
  if (patchless) config.patcher = null;
  if (patchless || patching.mode !== "entropy") patching.mode = "byte";
  Object.assign(patching, { monotonic: false, thresholdAdd: null, newlineReset: false, minPatchLength: 1 });
}
