/**
 * The bytes by which a model that was trained on completions tells the parts of a place in a file apart
 * (docs/completion-format.md). They occur in no source text.
 */
import { join } from "node:path";
import { asFields, type Fields, integer, section } from "./json-fields";
import { readJson } from "./weight-files";

export interface CompletionMarks {
  /** Before the file's path. */
  path: number;
  /** Before what follows the cursor. */
  suffix: number;
  /** Before text that stands before the cursor. */
  prefix: number;
}

/** `completion_marks` of a `lexicon_config`; null when the model knows none. Throws `UserError`. */
export function parseCompletionMarks(lexicon: Fields): CompletionMarks | null {
  const marks = section(lexicon, "completion_marks");
  if (marks === null) return null;
  const mark = (name: string) => integer(marks, name, { min: 0, max: 31 });
  return { path: mark("path"), suffix: mark("suffix"), prefix: mark("prefix") };
}

/** The marks of the model in a folder; null as well where there is no such model (opening it says why). */
export function readCompletionMarks(folder: string): CompletionMarks | null {
  const where = join(folder, "config.json");
  try {
    const lexicon = section(asFields(readJson(where), where), "lexicon_config");
    return lexicon === null ? null : parseCompletionMarks(lexicon);
  } catch {
    // The model's thread opens the same file and reports what is wrong with it.
    return null;
  }
}
