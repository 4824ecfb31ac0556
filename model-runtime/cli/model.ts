/** The options that every command has, and the model they name. */
import { join } from "node:path";
import { checkFinite } from "../checkpoint/check-finite";
import type { Checkpoint } from "../checkpoint/checkpoint";
import type { PatchingConfig } from "../checkpoint/config";
import { patcherPrefix } from "../checkpoint/expected-tensors";
import { openCheckpoint } from "../checkpoint/open-checkpoint";
import { type Device, devices, type ResolvedDevice } from "../device";
import { type EmbeddedModelOptions, embeddedModel } from "../embedded-model";
import { UserError } from "../errors";
import { Blt } from "../model/blt";
import { loadPatcher, type Patcher } from "../model/entropy-model";
import { resolveDeviceFor } from "../model/fastest-device";
import {
  isLexicon,
  loadModel as loadAnyModel,
  type ModelCheckpoint,
  openModel as openAnyModel,
} from "../model/load-model";
import type { TextModel } from "../model/text-state";
import { resolveDevice, type SessionOptions } from "../session";
import { readAdapter } from "../training/adapter-file";
import { adapterBase } from "../training/kit";
import { choice, text, toggle, type Values, wholeNumber } from "./arguments";
import type { Terminal } from "./terminal";

export const modelOptions = {
  model: text("DIR", "folder of the checkpoint (default: the embedded model)"),
  entropyModel: text("DIR", "folder of an entropy model to use instead of the checkpoint's own"),
  semantics: choice(
    "WHOSE",
    ["meta", "hf"],
    "whose forward pass, with windows of attention (meta, default) or without",
  ),
  device: choice("DEVICE", devices, "where networks run (default auto)"),
  threads: wholeNumber("N", "threads of one operator (default: onnxruntime's choice)", 1),
  json: toggle("print JSON"),
};

export type ModelValues = Values<typeof modelOptions>;

/** For commands that use the whole model. */
export const adapterOptions = {
  adapter: text("DIR", "folder of an adapter to use with the model (docs/finetune.md)"),
};

type AdapterValues = Partial<Values<typeof adapterOptions>>;

/** Opens the checkpoint that is asked for, as an argument or with --model, without reading its weights. */
export function openModel(values: ModelValues, argument?: string): Checkpoint {
  refuseTwo(values, argument);
  const { entropyModel, semantics } = values;
  return openCheckpoint(argument ?? values.model ?? embedded({ plain: true }), { entropyModel, semantics });
}

function refuseTwo({ model }: ModelValues, argument: string | undefined): void {
  if (argument !== undefined && model !== undefined)
    throw new UserError(`The checkpoint is named twice, ${argument} and --model ${model}; leave out one.`);
}

/**
 * Opens the checkpoint that is asked for, of either kind, as an argument or with --model, or else the embedded one, without
 * reading its weights.
 */
export function openEitherKind(values: ModelValues, argument?: string): ModelCheckpoint {
  refuseTwo(values, argument);
  const { model, entropyModel, semantics } = values;
  const checkpoint = openAnyModel(defaultModel(argument ?? model), { entropyModel, semantics });
  const flag = entropyModel !== undefined ? "--entropy-model" : semantics !== undefined ? "--semantics" : null;
  if (flag !== null && isLexicon(checkpoint))
    throw new UserError(
      `${flag} is for plain BLT checkpoints, and ${checkpoint.directory} is none; name one with --model.`,
    );
  return checkpoint;
}

/** Loads all networks; weights that are not finite are a `UserError`. */
export async function loadModel(values: ModelValues, terminal: Terminal): Promise<Blt> {
  const checkpoint = openModel(values);
  checkFinite(checkpoint);
  terminal.signal.throwIfAborted();
  return Blt.load(checkpoint, await optionsFor(checkpoint, values, terminal));
}

/** A loaded model that writes and scores text; `patching` is null where the model is not one of patches. */
export interface LoadedTextModel {
  model: TextModel;
  patching: PatchingConfig | null;
  /** The checkpoint's folder. */
  directory: string;
}

/** Loads a model of either kind: a plain BLT, or one that reads a token model by its lexicon (docs/lexicon.md). */
export async function loadTextModel(values: ModelValues & AdapterValues, terminal: Terminal): Promise<LoadedTextModel> {
  const checkpoint = openEitherKind(values);
  const adapter = values.adapter === undefined ? null : readAdapter(values.adapter, adapterBase(checkpoint)).lowRank;
  terminal.signal.throwIfAborted();
  const model = await loadAnyModel(checkpoint, { ...(await optionsFor(checkpoint, values, terminal)), adapter });
  const { directory } = checkpoint;
  return { model, directory, patching: isLexicon(checkpoint) ? null : checkpoint.config.patching };
}

/** Loads the entropy model alone, all that is needed to cut text. */
export async function loadEntropyModel(
  checkpoint: ModelCheckpoint,
  values: ModelValues,
  terminal: Terminal,
): Promise<Patcher> {
  const tensors = new Map([...checkpoint.tensors].filter(([name]) => name.startsWith(patcherPrefix)));
  checkFinite({ ...checkpoint, tensors, hashTables: [] });
  return loadPatcher(checkpoint, {
    device: await chooseDevice(values.device, terminal),
    threads: values.threads,
  });
}

/** The device that will be used; the reason why it is not the one asked for goes to stderr. */
export async function chooseDevice(asked: Device = "auto", terminal: Terminal): Promise<ResolvedDevice> {
  const { device, notice } = await resolveDevice(asked);
  if (notice !== null) terminal.notice(notice);
  return device;
}

/** For a whole model: `auto` is whichever device runs it faster. */
async function optionsFor(
  checkpoint: ModelCheckpoint,
  { device: asked = "auto", threads }: ModelValues,
  terminal: Terminal,
): Promise<SessionOptions> {
  const { device, notice } = await resolveDeviceFor(checkpoint, asked, threads);
  if (notice !== null) terminal.notice(notice);
  return { device, threads };
}

/** Folder of the model that is asked for, or else of the embedded one, of whichever kind. */
export function defaultModel(asked: string | undefined): string {
  return asked ?? embedded({ plain: false });
}

/** Folder of the model that comes with the program; some commands can read a plain BLT only. */
function embedded(options: EmbeddedModelOptions): string {
  // The program is dist/cli.js, or this file while it is being developed.
  const found = embeddedModel(__dirname, options) ?? embeddedModel(join(__dirname, ".."), options);
  if (found === null) throw new UserError("No model is embedded here; name the folder of one with --model.");
  return found;
}
