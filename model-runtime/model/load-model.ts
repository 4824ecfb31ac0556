/** Opens and loads a model of either kind; its `config.json` says which. */
import { join, resolve } from "node:path";
import { checkFinite } from "../checkpoint/check-finite";
import type { Checkpoint } from "../checkpoint/checkpoint";
import { hasLexicon } from "../checkpoint/lexicon-config";
import { type OpenOptions, openCheckpoint } from "../checkpoint/open-checkpoint";
import { type LexiconCheckpoint, openLexiconCheckpoint } from "../checkpoint/open-lexicon";
import { readJson } from "../checkpoint/weight-files";
import { Blt } from "./blt";
import { LexiconModel } from "./lexicon-model";
import type { LoadOptions } from "./load-options";

/** A checkpoint of either kind, told apart by `isLexicon`. */
export type ModelCheckpoint = Checkpoint | LexiconCheckpoint;

/** Opens the checkpoint in a folder without reading its weights; throws a `UserError` that names what does not fit. */
export function openModel(directory: string, options: OpenOptions = {}): ModelCheckpoint {
  const config = readJson(join(resolve(directory), "config.json"), { optional: true });
  return hasLexicon(config) ? openLexiconCheckpoint(directory) : openCheckpoint(directory, options);
}

export function isLexicon(checkpoint: ModelCheckpoint): checkpoint is LexiconCheckpoint {
  return !("hashTables" in checkpoint);
}

/** Loads all networks; weights that are not finite are a `UserError`. */
export async function loadModel(checkpoint: ModelCheckpoint, options: LoadOptions): Promise<Blt | LexiconModel> {
  if (isLexicon(checkpoint)) {
    checkFinite({ tensors: checkpoint.tensors, hashTables: [] });
    return LexiconModel.load(checkpoint, options);
  }
  checkFinite(checkpoint);
  return Blt.load(checkpoint, options);
}
