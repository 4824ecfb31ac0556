/** Where the model that comes with the program lies. */
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";

/**
 * Folder of the embedded model, `models/default` or else `models/tiny`; null when there is none.
 *
 * @param programFolder folder of the running program: `dist/`, or a source folder while it is being developed
 */
export function embeddedModel(programFolder: string): string | null {
  const roots = [join(programFolder, ".."), join(programFolder, "../..")];
  const folders = roots.flatMap((root) => [join(root, "models/default"), join(root, "models/tiny")]);
  return folders.find(isPlainBlt) ?? null;
}

/** Whether the folder holds a checkpoint that is no lexicon model, which is read by other code. */
function isPlainBlt(folder: string): boolean {
  const path = join(folder, "config.json");
  if (statSync(path, { throwIfNoEntry: false }) === undefined) return false;
  // Whether the rest of it can be read is found out when it is opened.
  return !readFileSync(path, "utf8").includes('"lexicon_config"');
}
