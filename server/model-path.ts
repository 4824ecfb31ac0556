/** Which folder the model is read from. */
import { homedir } from "node:os";
import { isAbsolute, join, resolve } from "node:path";
import { embeddedModel } from "../model-runtime/embedded-model";
import { UserError } from "../model-runtime/errors";

export interface ModelPathOptions {
  /** Folder that relative paths start from; null when no folder is open. */
  workspaceFolder: string | null;
  /** Folder of the running program, which the embedded model lies beside. */
  programFolder: string;
}

/** The folder that the setting `modelPath` names; the embedded model's when it is empty. */
export function resolveModelPath(modelPath: string, { workspaceFolder, programFolder }: ModelPathOptions): string {
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
