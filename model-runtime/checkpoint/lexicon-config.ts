/** `config.json` of a checkpoint with a lexicon (docs/checkpoint-format.md). */
import { UserError } from "../errors";
import { VOCABULARY_SIZE } from "../ids";
import type { LexiconRule } from "../lexicon/open-word";
import { checkTransformer } from "./check-config";
import { type CompletionMarks, parseCompletionMarks } from "./completion-marks";
import type { BlockForm, PatchingConfig, TransformerConfig } from "./config";
import { parseHuggingFaceDrafter, parseHuggingFaceLatent, parseHuggingFacePatcher, type Shapes } from "./hf-config";
import { asFields, describe, type Fields, flag, integer, integers, real, section } from "./json-fields";
import { parsePatching } from "./patching-fields";
import { parseBlockForm } from "./quantization-fields";

/** A latent transformer over pieces, read out in bytes. */
export interface LexiconConfig {
  latent: TransformerConfig;
  /** Most positions the latent has been trained on, BOS among them. */
  maxPositions: number;
  /** The entropy model, which serves as the lexicon's byte model; null when the checkpoint has none. */
  patcher: TransformerConfig | null;
  /** The layer that foresees the latent's states; null when the checkpoint has none. */
  drafter: DrafterConfig | null;
  /** How the entropy model cuts text into patches where these are asked for; the latent steps over pieces. */
  patching: PatchingConfig;
  /** Rows of the embedding table, and entries of the vocabulary. */
  pieces: number;
  /** Byte-level BPE in the format of Hugging Face tokenizers; a file of the checkpoint's folder. */
  tokenizerFile: string;
  /** Pieces without bytes. */
  specialPieces: number[];
  bosPiece: number;
  eosPiece: number;
  rule: LexiconRule;
  /** What a place in a file is marked with; null when the model was not trained on such. */
  marks: CompletionMarks | null;
  /** Whether the normed states go through a matrix before the readout. */
  readoutMatrix: boolean;
  /** 4-bit blocks have minima of their own, or values from -8 to 7 times the scale. */
  blockForm: BlockForm;
}

export interface DrafterConfig extends TransformerConfig {
  /** Pieces that it can propose: the most frequent ones. */
  pieces: number;
  /** Layers of the latent whose outputs it sees besides the states, by number. */
  innerLayers: number[];
}

/** Whether a parsed `config.json` is that of a checkpoint with a lexicon. */
export function hasLexicon(json: unknown): boolean {
  return typeof json === "object" && json !== null && "lexicon_config" in json;
}

/** The configuration that `json` describes; `where` is the file, for errors. Throws `UserError`. */
export function parseLexiconConfig(json: unknown, where: string, shapes: Shapes): LexiconConfig {
  const fields = asFields(json, where);
  const global = required(fields, "global_config");
  const lexicon = required(fields, "lexicon_config");
  const patcher = section(fields, "patcher_config");
  const drafter = section(fields, "drafter_config");
  const pieces = integer(lexicon, "vocab_size");
  const last = pieces - 1;
  const latent = parseHuggingFaceLatent(global, shapes);
  const config: LexiconConfig = {
    latent,
    maxPositions: integer(global, "max_position_embeddings"),
    patcher: patcher === null ? null : parseHuggingFacePatcher(patcher, shapes),
    drafter: drafter === null ? null : parseDrafter(drafter, shapes, pieces, latent.layers),
    patching: parsePatching(fields),
    pieces,
    tokenizerFile: plainName(lexicon, "tokenizer_file"),
    specialPieces: integers(lexicon, "special_pieces", { min: 0, max: last }),
    bosPiece: integer(lexicon, "bos_piece", { min: 0, max: last }),
    eosPiece: integer(lexicon, "eos_piece", { min: 0, max: last }),
    rule: {
      refreshThreshold: real(lexicon, "refresh_threshold", { min: 0 }),
      fallbackShare: real(lexicon, "fallback_share", { min: 0 }),
      wordLimit: integer(lexicon, "word_limit"),
    },
    marks: parseCompletionMarks(lexicon),
    readoutMatrix: flag(lexicon, "readout_matrix", { fallback: false }),
    blockForm: parseBlockForm(section(fields, "quantization_config")),
  };
  integer(fields, "vocab_size", { fallback: VOCABULARY_SIZE, min: VOCABULARY_SIZE, max: VOCABULARY_SIZE });
  checkTransformer("latent transformer", config.latent, where);
  if (config.patcher !== null) checkTransformer("patcher", config.patcher, where);
  if (config.drafter !== null) {
    checkTransformer("drafter", config.drafter, where);
    if (config.drafter.hiddenSize !== config.latent.hiddenSize || config.drafter.layers !== 1)
      throw new UserError(
        `${where} contradicts itself: the drafter has ${config.drafter.layers} layers of width ${config.drafter.hiddenSize}, but must have one of the latent's width ${config.latent.hiddenSize}.`,
      );
  }
  for (const [name, piece] of [
    ["bos_piece", config.bosPiece],
    ["eos_piece", config.eosPiece],
  ] as const) {
    if (!config.specialPieces.includes(piece))
      throw new UserError(`Piece ${piece}, the ${name} of ${where}, is not a special piece; correct the file.`);
  }
  // Half a context is dropped at a time, of which the open word must keep its own.
  const least = 4 * (config.rule.wordLimit + 1);
  if (config.maxPositions < least)
    throw new UserError(
      `${where} contradicts itself: ${config.maxPositions} positions are too few for a "word_limit" of ${config.rule.wordLimit}; it takes ${least}.`,
    );
  return config;
}

function parseDrafter(fields: Fields, shapes: Shapes, pieces: number, layers: number): DrafterConfig {
  return {
    ...parseHuggingFaceDrafter(fields, shapes),
    pieces: integer(fields, "vocab_size", { min: 1, max: pieces }),
    innerLayers: integers(fields, "inner_layers", { fallback: [], min: 0, max: layers - 1 }),
  };
}

function required(fields: Fields, name: string): Fields {
  const found = section(fields, name);
  if (found === null) throw new UserError(`"${name}" is missing in ${fields.where}; fetch the file again.`);
  return found;
}

/** No separators of any system, so that a downloaded file cannot point outside its folder. */
function plainName(fields: Fields, name: string): string {
  const value = fields.values[name];
  if (typeof value === "string" && /^[^/\\:]+\.json$/.test(value)) return value;
  throw new UserError(
    `"${name}" in ${fields.where} is ${describe(value)}, but must be a .json file of the same folder.`,
  );
}
