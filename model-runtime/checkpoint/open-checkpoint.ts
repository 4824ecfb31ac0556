/**
 * A folder with `config.json` and safetensors files -> `Checkpoint`: both published layouts, one file or shards.
 * Everything the configuration implies is looked up and its shape compared; tensors nobody asked for are ignored.
 */
import { join, resolve } from "node:path";
import { UserError } from "../errors";
import type { Checkpoint, HashTableLocation, TensorLocation } from "./checkpoint";
import type { BltConfig, TransformerConfig } from "./config";
import { expectedTensors, hashTableCount, hashTableName, patcherPrefix } from "./expected-tensors";
import { fileStatus } from "./file-access";
import { findTensor, locate, type Stored } from "./find-tensor";
import { asFields } from "./json-fields";
import { hasLexicon } from "./lexicon-config";
import { metaArguments } from "./meta-config";
import { metaHashTableName, renameEntropyModelTensor, renameMetaTensor } from "./meta-layout";
import { parseConfig, parseEntropyModelConfig, type Semantics } from "./parse-config";
import { hasTorchFileOnly, listTensors, readJson } from "./weight-files";

export interface OpenOptions {
  /** Folder of an entropy model to use instead of the checkpoint's own. */
  entropyModel?: string;
  /** Default `meta`. */
  semantics?: Semantics;
}

/** Opens a checkpoint without reading its weights; throws a `UserError` that names what does not fit. */
export function openCheckpoint(directory: string, options: OpenOptions = {}): Checkpoint {
  const root = resolve(directory);
  checkFolder(root, "checkpoint");
  const where = join(root, "config.json");
  const json = readJson(where);
  if (hasLexicon(json))
    throw new UserError(`${root} is a model with a lexicon, where a plain BLT is needed; name the folder of one.`);
  const isMeta = metaArguments(asFields(json, where)) !== null;
  const stored = renamed(listTensors(root), isMeta ? renameMetaTensor : (name) => name);
  if ((json as Record<string, unknown>).tie_word_embeddings === true) tieEmbeddings(stored);

  const config = parseConfig(json, {
    semantics: options.semantics,
    where,
    trainArgs: isMeta ? readJson(join(root, "train_args.json"), { optional: true }) : undefined,
    shapes: shapesOf(stored),
  });
  const entropyFolder = options.entropyModel ?? (isMeta ? join(root, "entropy_model") : undefined);
  attachEntropyModel(config, stored, root, entropyFolder, options);

  const hashTables = findHashTables(config, stored, root);
  const tensors = new Map<string, TensorLocation>();
  for (const [name, shape] of expectedTensors(config)) {
    if (name === hashTableName && !stored.has(name)) continue;
    for (const location of findTensor(name, shape, stored, root, config.quantization))
      tensors.set(location.name, location);
  }
  return { directory: root, config, tensors, hashTables };
}

/** Settles where the entropy model comes from and adds its tensors to `stored`; sets `config.patcher`. */
function attachEntropyModel(
  config: BltConfig,
  stored: Stored,
  root: string,
  folder: string | undefined,
  options: OpenOptions,
): void {
  const required = config.patching.mode === "entropy";
  const own = [...stored.keys()].some((name) => name.startsWith(patcherPrefix));
  if (options.entropyModel === undefined && own && config.patcher !== null) return;
  config.patcher = null;
  if (folder !== undefined) {
    if (options.entropyModel !== undefined) checkFolder(folder, "entropy model");
    const loaded = loadEntropyModel(resolve(folder), options, required || options.entropyModel !== undefined);
    if (loaded !== null) {
      for (const name of stored.keys()) if (name.startsWith(patcherPrefix)) stored.delete(name);
      for (const [name, tensor] of loaded.tensors) stored.set(name, tensor);
      config.patcher = loaded.config;
      return;
    }
  }
  if (required) {
    throw new UserError(
      `${root} patches by entropy but holds no entropy model; name the folder of one, or set another "patching_mode" in its config.json.`,
    );
  }
}

/** The model in `folder`; null when there is none, or none that can be read while nothing needs it. */
function loadEntropyModel(
  folder: string,
  options: OpenOptions,
  required: boolean,
): { config: TransformerConfig; tensors: Stored } | null {
  if (fileStatus(folder) === null) return null;
  if (!required && hasTorchFileOnly(folder)) return null;
  const all = listTensors(folder);
  const isCheckpoint = [...all.keys()].some((name) => name.startsWith(patcherPrefix));
  const picked = [...all].filter(([name]) => !isCheckpoint || name.startsWith(patcherPrefix));
  const tensors = renamed(new Map(picked), renameEntropyModelTensor);
  const params = join(folder, "params.json");
  const where = fileStatus(params) === null ? join(folder, "config.json") : params;
  const config = parseEntropyModelConfig(readJson(where), {
    semantics: options.semantics,
    where,
    shapes: shapesOf(tensors),
  });
  return { config, tensors };
}

/** One location a slot, whether the file fuses the tables (Hugging Face) or keeps each by itself (Meta). */
function findHashTables(config: BltConfig, stored: Stored, root: string): HashTableLocation[] {
  const slots = Array.from({ length: hashTableCount(config) }, (_, slot) => slot);
  const rows = config.hash.vocab;
  const width = config.encoder.hiddenSize;
  if (slots.length === 0) return [];
  const separate = slots.some((slot) => stored.has(renameMetaTensor(metaHashTableName(slot))));
  if (separate && !stored.has(hashTableName)) {
    return slots.map((slot) => ({
      ...locate(renameMetaTensor(metaHashTableName(slot)), [rows, width], stored, root),
      scales: null,
    }));
  }
  const [fused, scales] = findTensor(hashTableName, [slots.length * rows, width], stored, root, config.quantization);
  const part = (whole: TensorLocation, slot: number, shape: number[]): TensorLocation => {
    const length = whole.length / slots.length;
    return { ...whole, shape, length, offset: whole.offset + slot * length };
  };
  return slots.map((slot) => ({
    ...part(fused, slot, [rows, width]),
    scales: scales === undefined ? null : part(scales, slot, [rows]),
  }));
}

function renamed(tensors: Stored, rename: (name: string) => string): Stored {
  return new Map([...tensors].map(([name, tensor]) => [rename(name), tensor]));
}

/** With tied embeddings the file holds one of the two matrices, which serves for both. */
function tieEmbeddings(stored: Stored): void {
  const names = ["lm_head.weight", "model.local_encoder.embed_tokens.weight"];
  const tensor = stored.get(names[0]) ?? stored.get(names[1]);
  if (tensor !== undefined) for (const name of names) stored.set(name, tensor);
}

function shapesOf(stored: Stored): Map<string, number[]> {
  return new Map([...stored].map(([name, tensor]) => [name, tensor.shape]));
}

function checkFolder(path: string, kind: string): void {
  const status = fileStatus(path);
  if (status === null) throw new UserError(`There is no folder ${path}; name the folder of the ${kind}.`);
  if (!status.isDirectory()) throw new UserError(`${path} is a file; name the folder of the ${kind} it belongs to.`);
}
