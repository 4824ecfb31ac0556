/** Where the models that come with the program lie. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

export interface EmbeddedModelOptions {
  /** Only a plain BLT, with a patcher and patches of its own, will do: no lexicon model. */
  plain?: boolean;
}

/**
 * Folder of the embedded model, `models/default` or else `models/tiny`; null when there is none.
 *
 * @param programFolder folder of the running program: `dist/`, or a source folder while it is being developed
 */
export function embeddedModel(programFolder: string, { plain = false }: EmbeddedModelOptions = {}): string | null {
  const roots = [join(programFolder, ".."), join(programFolder, "../..")];
  const folders = roots.flatMap((root) => [join(root, "models/default"), join(root, "models/tiny")]);
  return folders.find((folder) => isModel(folder) && !(plain && isLexicon(folder))) ?? null;
}

/** Whether the rest of it can be read is found out when it is opened. */
function isModel(folder: string): boolean {
  return existsSync(join(folder, "config.json"));
}

function isLexicon(folder: string): boolean {
  return readFileSync(join(folder, "config.json"), "utf8").includes('"lexicon_config"');
}
