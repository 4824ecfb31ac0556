/** What has to hold between the numbers of a configuration, whatever layout it was read from. */
import { UserError } from "../errors";
import { VOCABULARY_SIZE } from "../ids";
import type { BltConfig, LocalConfig, TransformerConfig } from "./config";

/** Throws a `UserError` for a configuration that no checkpoint can satisfy; `where` is the file. */
export function checkConfig(config: BltConfig, where: string): void {
  if (config.vocabSize !== VOCABULARY_SIZE) {
    refuse(`the vocabulary has ${config.vocabSize} ids, but bytes and special ids make ${VOCABULARY_SIZE}`, where);
  }
  if (config.patcher !== null) checkTransformer("patcher", config.patcher, where);
  checkTransformer("latent transformer", config.latent, where);
  checkLocal("local encoder", config.encoder, where);
  checkLocal("local decoder", config.decoder, where);
  if (config.encoder.hiddenSize !== config.decoder.hiddenSize) {
    refuse(
      `the local decoder continues the local encoder's ${config.encoder.hiddenSize} channels, but has ${config.decoder.hiddenSize}`,
      where,
    );
  }
  const { minPatchLength, maxPatchLength } = config.patching;
  if (maxPatchLength !== null && minPatchLength > maxPatchLength) {
    refuse(`min_patch_length ${minPatchLength} is above max_patch_length ${maxPatchLength}`, where);
  }
}

/** Checks one stack of blocks; `name` is what an error calls it. */
export function checkTransformer(name: string, config: TransformerConfig, where: string): void {
  const { hiddenSize, heads, kvHeads, headDim } = config;
  checkHeads(`the ${name}`, hiddenSize, heads, kvHeads, where);
  if (headDim % 2 !== 0) {
    refuse(`the ${name}'s heads have ${headDim} channels, but the rotary embedding turns pairs`, where);
  }
}

function checkLocal(name: string, config: LocalConfig, where: string): void {
  checkTransformer(name, config, where);
  const heads = config.crossAttentionHeads;
  checkHeads(`the ${name}'s cross-attention`, config.hiddenSize, heads, config.crossAttentionKvHeads, where);
}

function checkHeads(name: string, hiddenSize: number, heads: number, kvHeads: number, where: string): void {
  if (hiddenSize % heads !== 0) {
    refuse(`the hidden size ${hiddenSize} of ${name} is not a multiple of its ${heads} attention heads`, where);
  }
  if (heads % kvHeads !== 0) {
    refuse(`the ${heads} attention heads of ${name} are not a multiple of its ${kvHeads} key/value heads`, where);
  }
}

function refuse(what: string, where: string): never {
  throw new UserError(`${where} contradicts itself: ${what}; correct the file.`);
}
