/** A context as the bytes that the model reads; docs/completion-format.md describes them. */
import type { CompletionMarks } from "../model-runtime/checkpoint/completion-marks";
import { decodeURIComponentSafely } from "./uri";

/** What the model may be told of a place in a document; line ends are "\n". */
export interface ModelText {
  /** Parts of other files. */
  front: string;
  /** The file's path as far as it helps. */
  path: string;
  /** The text before the cursor. */
  text: string;
  /** What follows the cursor's line, and where in `text` the lines begin that are read after it; null when it is not read. */
  suffix: Suffix | null;
}

export interface Suffix {
  following: string;
  /** UTF-16 code units of `text`. */
  near: number;
}

/**
 * UTF-8: with marks [front] PATH path PREFIX far [SUFFIX following PREFIX] near, for a model that knows none front and text.
 * Marks that occur in a text itself are left out of it: they would say something else.
 */
export function bytesOf({ front, path, text, suffix }: ModelText, marks: CompletionMarks | null): Uint8Array {
  const encoder = new TextEncoder();
  if (marks === null) return encoder.encode(front + text);
  const [pathMark, suffixMark, prefixMark] = [marks.path, marks.suffix, marks.prefix].map((mark) =>
    String.fromCharCode(mark),
  );
  const clean = (part: string) => withoutMarks(part, marks);
  const header = path === "" ? "" : `${pathMark}${clean(path)}${prefixMark}`;
  if (suffix === null) return encoder.encode(clean(front) + header + clean(text));
  const { following, near } = suffix;
  return encoder.encode(
    `${clean(front)}${header}${clean(text.slice(0, near))}${suffixMark}${clean(following)}${prefixMark}${clean(text.slice(near))}`,
  );
}

function withoutMarks(text: string, marks: CompletionMarks): string {
  const isMark = (code: number) => code === marks.path || code === marks.suffix || code === marks.prefix;
  for (let i = 0; i < text.length; i++)
    if (isMark(text.charCodeAt(i))) return [...text].filter((letter) => !isMark(letter.charCodeAt(0))).join("");
  return text;
}

/** The last names of a document's path, as many as models are shown in training. */
export function shortPath(uri: string): string {
  const path = uri.replace(/^[a-z][a-z0-9+.-]*:(\/\/[^/]*)?/i, "").replace(/[?#].*$/, "");
  const names = path.split("/").filter((name) => name !== "");
  return names.slice(-PATH_NAMES).map(decodeURIComponentSafely).join("/");
}

const PATH_NAMES = 3;
