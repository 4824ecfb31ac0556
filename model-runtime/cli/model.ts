/** The options that every command has, and the model they name. */
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { checkFinite } from "../checkpoint/check-finite";
import type { Checkpoint } from "../checkpoint/checkpoint";
import { patcherPrefix } from "../checkpoint/expected-tensors";
import { openCheckpoint } from "../checkpoint/open-checkpoint";
import { type Device, devices, type ResolvedDevice } from "../device";
import { UserError } from "../errors";
import { Blt } from "../model/blt";
import { loadPatcher, type Patcher } from "../model/entropy-model";
import { resolveDevice, type SessionOptions } from "../session";
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

/** Opens the checkpoint that is asked for, as an argument or with --model, without reading its weights. */
export function openModel(values: ModelValues, argument?: string): Checkpoint {
  if (argument !== undefined && values.model !== undefined) {
    throw new UserError(`The checkpoint is named twice, ${argument} and --model ${values.model}; leave out one.`);
  }
  const { entropyModel, semantics } = values;
  return openCheckpoint(argument ?? values.model ?? embeddedModel(), { entropyModel, semantics });
}

/** Loads all networks; weights that are not finite are a `UserError`. */
export async function loadModel(values: ModelValues, terminal: Terminal): Promise<Blt> {
  const checkpoint = openModel(values);
  checkFinite(checkpoint);
  terminal.signal.throwIfAborted();
  return Blt.load(checkpoint, await sessionOptions(values, terminal));
}

/** Loads the entropy model alone, all that is needed to cut text. */
export async function loadEntropyModel(
  checkpoint: Checkpoint,
  values: ModelValues,
  terminal: Terminal,
): Promise<Patcher> {
  const tensors = new Map([...checkpoint.tensors].filter(([name]) => name.startsWith(patcherPrefix)));
  checkFinite({ ...checkpoint, tensors, hashTables: [] });
  return loadPatcher(checkpoint, await sessionOptions(values, terminal));
}

/** The device that will be used; the reason why it is not the one asked for goes to stderr. */
export async function chooseDevice(asked: Device = "auto", terminal: Terminal): Promise<ResolvedDevice> {
  const { device, notice } = await resolveDevice(asked);
  if (notice !== null) terminal.notice(notice);
  return device;
}

async function sessionOptions(values: ModelValues, terminal: Terminal): Promise<SessionOptions> {
  return { device: await chooseDevice(values.device, terminal), threads: values.threads };
}

/** Folder of the model that comes with the program. */
function embeddedModel(): string {
  // The program is dist/cli.js, or this file while it is being developed.
  const roots = [join(__dirname, ".."), join(__dirname, "../..")];
  const folders = roots.flatMap((root) => [join(root, "models/default"), join(root, "models/tiny")]);
  const found = folders.find(isPlainBlt);
  if (found === undefined) throw new UserError("No model is embedded here; name the folder of one with --model.");
  return found;
}

/** Whether the folder holds a checkpoint that is no lexicon model, which is read by other code. */
function isPlainBlt(folder: string): boolean {
  const path = join(folder, "config.json");
  if (statSync(path, { throwIfNoEntry: false }) === undefined) return false;
  return !("lexicon_config" in JSON.parse(readFileSync(path, "utf8")));
}
