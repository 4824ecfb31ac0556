/**
 * How far a suggestion goes: to the end of the line, or over the lines of a block. Decided from the text around the
 * cursor before the model runs; the rule then reads the model's bytes one by one and says when they are enough.
 */
import type { Context } from "./context";
import type { Multiline } from "./protocol";

export type Extent =
  | { kind: "line" }
  | {
      kind: "block";
      /** Column of the block's own lines: the first line further left ends it. */
      indent: number;
      /** Whether the line that begins with the block's closing bracket belongs to it: not when the text has one. */
      takesCloser: boolean;
    };

export const MAX_LINES = 6;

/** Columns of a tab in the comparison of indentations. */
const TAB_WIDTH = 4;

/** The extent at the cursor. Text behind the cursor in its line keeps a suggestion to that line. */
export function extentAt(context: Context, options: { multiline: Multiline; invoked: boolean }): Extent {
  const { multiline, invoked } = options;
  if (multiline === "never" || context.lineRest.trim() !== "") return { kind: "line" };
  const linePrefix = lastLine(context.text);
  const isBlank = linePrefix.trim() === "";
  const wanted = invoked || (isBlank && (multiline === "always" || isEmptyBlock(context, linePrefix)));
  if (!wanted) return { kind: "line" };
  const column = indentation(linePrefix);
  const outer = isBlank ? enclosingIndentation(context.text, column) : column;
  const next = firstText(context.following);
  const closerFollows = next !== null && isCloser(next.trimStart()[0]) && indentation(next) >= outer;
  return { kind: "block", indent: isBlank ? column : column + 1, takesCloser: !closerFollows };
}

/** Reads the bytes of a suggestion in their order; true when the text must end before the byte just read. */
export type StopRule = (byte: number) => boolean;

export function createStopRule(extent: Extent): StopRule {
  const newline = 10;
  if (extent.kind === "line") return (byte) => byte === newline;
  let lines = 1;
  let column = 0;
  let inIndentation = false;
  let hasText = false;
  let isLast = false;
  return (byte) => {
    if (byte === newline) {
      // A blank line ends the block, but the line end right at the cursor only ends the line that is there.
      const isBlank = inIndentation;
      if (isLast || (isBlank && hasText) || lines === MAX_LINES) return true;
      lines++;
      column = 0;
      inIndentation = true;
      return false;
    }
    if (inIndentation) {
      if (byte === 0x20) column++;
      else if (byte === 0x09) column += TAB_WIDTH;
      else {
        inIndentation = false;
        if (column < extent.indent) {
          if (!extent.takesCloser || !isCloser(String.fromCharCode(byte))) return true;
          isLast = true;
        }
      }
    }
    if (byte !== 0x20 && byte !== 0x09) hasText = true;
    return false;
  };
}

/** Indentation of the last line that is further left than `column`; 0 when there is none. */
function enclosingIndentation(text: string, column: number): number {
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  const line = lines.reverse().find((candidate) => indentation(candidate) < column);
  return line === undefined ? 0 : indentation(line);
}

/** Columns of white space at the line's start. */
export function indentation(line: string): number {
  let column = 0;
  for (const character of line) {
    if (character === " ") column++;
    else if (character === "\t") column += TAB_WIDTH;
    else break;
  }
  return column;
}

export function lastLine(text: string): string {
  return text.slice(text.lastIndexOf("\n") + 1);
}

/** The first line that is not blank, null when there is none. */
export function firstText(text: string): string | null {
  return text.split("\n").find((line) => line.trim() !== "") ?? null;
}

/** A blank line behind one that opens a block, with nothing in the block yet. */
function isEmptyBlock({ text, following }: Context, linePrefix: string): boolean {
  const before = text.slice(0, text.length - linePrefix.length).trimEnd();
  const opener = lastLine(before);
  if (!/([[({:]|=>|\b(do|then|else|begin|try))$/.test(opener)) return false;
  const next = firstText(following);
  return next === null || indentation(next) <= indentation(opener);
}

function isCloser(character: string | undefined): boolean {
  return character === ")" || character === "]" || character === "}";
}
