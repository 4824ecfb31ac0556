/** A context as tests write it: the text before the cursor, `|`, the rest of its line and the lines below. */
import type { Context } from "../../server/context";

export function contextOf(marked: string, eol: Context["eol"] = "\n"): Context {
  const [text, behind] = marked.split("|");
  const [lineRest, ...following] = behind.split("\n");
  return { front: "", path: "", suffix: null, text, source: text, lineRest, following: following.join("\n"), eol };
}
