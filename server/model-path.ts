/** Which folder the model is read from. */
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { isAbsolute, join, resolve } from "node:path";
import { embeddedModel } from "../model-runtime/embedded-model";
import { UserError } from "../model-runtime/errors";
import { adapterConfigName } from "../model-runtime/training/adapter-file";

export interface ModelPathOptions {
  /** Folder that relative paths start from; null when no folder is open. */
  workspaceFolder: string | null;
  /** Folder of the running program, which the embedded model lies beside. */
  programFolder: string;
}

/** What the setting `modelPath` names. */
export interface NamedModel {
  /** Of the model. */
  folder: string;
  /** Of the adapter, when the setting names one: it is used with the embedded model. */
  adapter: string | null;
}

/** The model that the setting names: a checkpoint, or an adapter of the embedded one; the embedded one when it is empty. */
export function resolveModel(modelPath: string, options: ModelPathOptions): NamedModel {
  const folder = resolveModelPath(modelPath, options);
  const isAdapter = existsSync(join(folder, adapterConfigName)) && !existsSync(join(folder, "config.json"));
  return isAdapter ? { folder: resolveModelPath("", options), adapter: folder } : { folder, adapter: null };
}

function resolveModelPath(modelPath: string, { workspaceFolder, programFolder }: ModelPathOptions): string {
  const path = modelPath.trim();
  if (path === "") {
    const folder = embeddedModel(programFolder);
    if (folder === null) {
      throw new UserError("No model comes with this program; name the folder of one in the setting blt.modelPath.");
    }
    return folder;
  }
  if (path === "~" || /^~[/\\]/.test(path)) return join(homedir(), path.slice(1));
  if (isAbsolute(path)) return path;
  if (workspaceFolder === null) {
    throw new UserError(
      `The setting blt.modelPath is ${path}, but no folder is open that it could start from; give the whole path.`,
    );
  }
  return resolve(workspaceFolder, path);
}
