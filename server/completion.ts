/**
 * From what the model wrote to what is inserted: a fixed chain of cuts, each a function of texts. A text here is JavaScript
 * text with "\n" as line end; the document's own line end is put in at the very end.
 */
import type { Context } from "./context";
import { lastLine } from "./extent";
import type { Refusal } from "./gate";

export interface Insertion {
  /** What is inserted, with the document's line ends. */
  text: string;
  /** Code units before the cursor that it replaces: the line's white space, so that ghost text begins with none. */
  replacesBefore: number;
  /** Code units behind the cursor that it replaces: closing brackets it has itself. */
  replacesAfter: number;
}

/** Fits the model's text to the document around it; a refusal when nothing worth showing is left. */
export function toInsertion(generated: string, context: Context, options: { invoked: boolean }): Insertion | Refusal {
  const linePrefix = lastLine(context.text);
  let text = cutRepetition(generated);
  text = cutFollowingLines(text, linePrefix, context.following).trimEnd();
  if (text === "") {
    return generated.trim() === ""
      ? { reason: "emptyPrediction", sentence: "The model expects nothing more in this line." }
      : { reason: "repeatsText", sentence: "The suggestion only repeats the lines below." };
  }
  const overlap = overlapWithRest(text, context.lineRest);
  text = overlap.text;
  if (text.trim() === "") {
    return { reason: "repeatsText", sentence: "The suggestion only repeats what stands behind the cursor." };
  }
  if (!options.invoked && !isWorthShowing(text)) {
    return { reason: "lowValue", sentence: `The suggestion ${quoted(text)} is as quickly typed as accepted.` };
  }
  const replacesBefore = linePrefix.trim() === "" ? linePrefix.length : 0;
  const inserted = (replacesBefore > 0 ? linePrefix : "") + text;
  return {
    text: context.eol === "\n" ? inserted : inserted.replaceAll("\n", context.eol),
    replacesBefore,
    replacesAfter: overlap.replaces,
  };
}

/** A text as a sentence quotes it: in quotes that it does not hold, with marks for line ends and tabs. */
export function quoted(text: string): string {
  const quote = text.includes('"') ? "`" : '"';
  return `${quote}${text.replaceAll("\n", "↵").replaceAll("\t", "⇥")}${quote}`;
}

/** Cuts back a text that ended for want of time or space to its last whole word, or what closes behind it. */
export function cutToWord(text: string): string {
  return text.replace(/[\p{L}\p{N}_]+$/u, "").replace(/[^\p{L}\p{N}_)\]};]+$/u, "");
}

/** Longest unit that is looked for, code units. */
const LONGEST_UNIT = 64;

/** Ends a text that runs in circles after the first round: four rounds of 4 to 7 code units, or three longer ones. */
export function cutRepetition(text: string): string {
  for (let unit = 4; unit <= LONGEST_UNIT; unit++) {
    const rounds = unit < 8 ? 4 : 3;
    let same = 0;
    for (let i = unit; i < text.length; i++) {
      same = text[i] === text[i - unit] ? same + 1 : 0;
      if (same < (rounds - 1) * unit) continue;
      const start = i + 1 - rounds * unit;
      // Rulers, as in comments and tables, are meant to repeat.
      if (new Set(text.slice(start, start + unit)).size <= 2) break;
      return text.slice(0, start + unit);
    }
  }
  return text;
}

/** Cuts the end of a text that is the same as the lines below, blank lines apart. */
export function cutFollowingLines(text: string, linePrefix: string, following: string): string {
  const below = nonBlank(following.split("\n"));
  const lines = text.split("\n");
  const whole = [linePrefix + lines[0], ...lines.slice(1)];
  // A bracket alone may well stand on two lines; at the end of several lines it closes the same block.
  if (below.length === 0 || (lines.length === 1 && whole[0].trim().length < 3)) return text;
  for (let first = 0; first < lines.length; first++) {
    const tail = nonBlank(whole.slice(first));
    const isSame = tail.length <= below.length && tail.every((line, index) => line === below[index]);
    if (tail.length > 0 && isSame) return lines.slice(0, first).join("\n");
  }
  return text;
}

/**
 * What stands behind the cursor and in the text as well. At the text's end it is left out of the text; closing brackets
 * and quotes that the text goes on behind are replaced by it.
 */
export function overlapWithRest(text: string, lineRest: string): { text: string; replaces: number } {
  const rest = lineRest.trimEnd();
  if (rest === "" || text.includes("\n")) return { text, replaces: 0 };
  if (!isCloser(rest[0]) && !isQuote(rest[0])) {
    const tail = [rest, rest.trimStart()].find((candidate) => text.endsWith(candidate)) ?? "";
    return { text: text.slice(0, text.length - tail.length), replaces: 0 };
  }
  const consumed = closersIn(text, rest);
  if (consumed.length === 0) return { text, replaces: 0 };
  const [first, last] = [consumed[0], consumed[consumed.length - 1]];
  const isTail = last === text.length - 1 && last - first + 1 === consumed.length;
  return isTail ? { text: text.slice(0, first), replaces: 0 } : { text, replaces: consumed.length };
}

/**
 * Where the text has, in this order and as its own, the beginning of `rest`: a bracket that closes nothing in the text, a
 * quote outside its brackets, then whatever follows them.
 */
function closersIn(text: string, rest: string): number[] {
  const open: string[] = [];
  const consumed: number[] = [];
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    const innermost = open[open.length - 1];
    const isNext = open.length === 0 && character === rest[consumed.length];
    if (isQuote(character)) {
      const isApostrophe = /\p{L}/u.test(text[at - 1] ?? "") && /\p{L}/u.test(text[at + 1] ?? "");
      if (innermost === character) open.pop();
      else if (isNext) consumed.push(at);
      else if (!isApostrophe && !isQuote(innermost)) open.push(character);
    } else if (isQuote(innermost)) {
      // Brackets inside a string belong to nobody.
    } else if (closerOf[character] !== undefined) {
      open.push(closerOf[character]);
    } else if (innermost === character) {
      open.pop();
    } else if (isNext && (consumed.length > 0 || isCloser(character))) {
      consumed.push(at);
    }
  }
  return consumed;
}

const closerOf: Readonly<Record<string, string>> = { "(": ")", "[": "]", "{": "}" };

function isCloser(character: string): boolean {
  return character === ")" || character === "]" || character === "}";
}

function isQuote(character: string | undefined): boolean {
  return character === '"' || character === "'" || character === "`";
}

/** The lines that are not blank, without white space at their ends. */
function nonBlank(lines: readonly string[]): string[] {
  return lines.map((line) => line.trimEnd()).filter((line) => line !== "");
}

/** Two letters or digits at least: less is typed as quickly as accepted. */
function isWorthShowing(text: string): boolean {
  return (text.match(/[\p{L}\p{N}]/gu) ?? []).length >= 2;
}
