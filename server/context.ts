/**
 * What the model reads: BOS, parts of other files, a window of the text before the cursor, and what follows the cursor where the
 * model knows how to read that (`model-text.ts`). The window's start stays where it is while the cursor moves on, so that
 * the model's caches stay valid. At a new place the window is a small one, soon read; a roomier one is read ahead
 * (`read-ahead.ts`) and then takes its place, and so it is when a window is nearly full.
 *
 * What follows stands close before the cursor, behind it only the last lines. Both stay as they are (an *anchor*) while
 * text is typed there, and change when the cursor goes elsewhere: then only these few hundred bytes are read anew.
 *
 * Bytes are UTF-8 with a lone surrogate as U+FFFD; line ends are "\n" and a byte order mark is left out, whatever the
 * document has, because that is how models see text in training.
 */
import type { Anchor, ContextWindow, OpenDocument } from "./documents";
import type { HostState } from "./host-state";
import { type ModelText, shortPath } from "./model-text";
import type { Settings } from "./protocol";

/** `text` is that of the window, from its start to the cursor. */
export interface Context extends ModelText {
  /** The same as it stands in the document, without a selected completion. */
  source: string;
  /** The rest of the cursor's line, without its end. */
  lineRest: string;
  /** Text after the cursor's line, as much as the rules look at, with "\n" as line end. */
  following: string;
  /** The line end to use in a suggestion. */
  eol: "\n" | "\r\n";
}

/** Size of a window at a place where nothing was read ahead, bytes: it takes half a second on two cores. */
const QUICK_BYTES = 1024;
/** Most bytes of a window while the model is not loaded: who waits for the model should not wait for a long text as well. */
const FIRST_BYTES = 1024;
/** How far behind the cursor the rules look, UTF-16 code units. */
const FOLLOWING_LENGTH = 2000;

/** Text that follows the cursor's line, and text before the cursor that stands behind it, UTF-16 code units of a new anchor. */
const [FOLLOWING_READ, NEAR_LENGTH] = [320, 320];
/** Longest text behind what follows before a new anchor is taken. */
const MOST_NEAR = 2400;

/** A place in a document, UTF-16 code units. */
export interface Cursor {
  /** Where the text ends that the model reads: before what a selected completion would replace. */
  from: number;
  /** The cursor. */
  to: number;
  /** The completion selected in the editor's list; else empty. */
  selected: string;
}

/**
 * The context at a place; remembers the window's start in the document.
 *
 * @param maxBytes longest text of the window
 */
export function contextAt(document: OpenDocument, { from, to, selected }: Cursor, maxBytes: number): Context {
  const text = document.text!.getText();
  const start = windowStart(text, from, maxBytes, document.window?.start ?? null);
  if (start !== document.window?.start) document.window = { start, front: "", openings: 0, anchor: null };
  return contextIn(document, document.window, { from, to, selected });
}

/** The context at a place in a given window, whose anchor is renewed where it does not hold any more. */
export function contextIn(document: OpenDocument, window: ContextWindow, { from, to, selected }: Cursor): Context {
  const text = document.text!.getText();
  const { start } = window;
  const lineEnd = lineEndFrom(text, to);
  const source = text.slice(start, from);
  if (window.anchor === null || !holds(window.anchor, text, { start, from, lineEnd }))
    window.anchor = anchorAt(text, start, from, lineEnd);
  const { near, following } = window.anchor;
  return {
    front: window.front,
    path: shortPath(document.uri),
    text: asModelSees(source) + selected,
    suffix: { following, near: asModelSees(text.slice(start, near)).length },
    source,
    lineRest: text.slice(to, lineEnd),
    following: asModelSees(text.slice(lineEnd, lineEnd + FOLLOWING_LENGTH)).replace(/^\n/, ""),
    eol: eolNear(text, to),
  };
}

/** Longest text of a window, bytes: little at first, since the first request waits for the model itself. */
export function windowLimit({ contextBytes }: Settings, model: HostState): number {
  const isLoaded = model.kind === "ready" || model.kind === "working";
  return isLoaded ? contextBytes : Math.min(contextBytes, FIRST_BYTES);
}

/** Length in UTF-8, bytes; a lone surrogate counts as U+FFFD. */
export function byteLength(text: string): number {
  return Buffer.byteLength(text, "utf8");
}

/** Whether so much was typed behind what follows that a new anchor is better, when there is time for it. */
export function isFarFromAnchor({ text, suffix }: Context): boolean {
  return suffix !== null && text.length - suffix.near > MOST_NEAR / 2;
}

/** The last lines before the cursor, and those that follow its line. */
function anchorAt(text: string, start: number, from: number, lineEnd: number): Anchor {
  const following = followingAt(text, lineEnd);
  if (from - start <= NEAR_LENGTH) return { near: start, following };
  const line = text.indexOf("\n", from - NEAR_LENGTH) + 1;
  return { near: line > 0 && line <= from ? line : startOfLast(text, from, NEAR_LENGTH), following };
}

/** Text typed since is no reason for a new anchor; another place or other lines below are. */
function holds(
  { near, following }: Anchor,
  text: string,
  { start, from, lineEnd }: { start: number; from: number; lineEnd: number },
): boolean {
  if (near < start || near > from || from - near > MOST_NEAR) return false;
  const firstLines = (lines: string) =>
    lines
      .split("\n")
      .filter((line) => line.trim() !== "")
      .slice(0, 2)
      .join("\n");
  return firstLines(following) === firstLines(followingAt(text, lineEnd));
}

/** From the end of the cursor's line on, to the end of a line; empty at the end of the file. */
function followingAt(text: string, lineEnd: number): string {
  const following = asModelSees(text.slice(lineEnd, lineEnd + FOLLOWING_READ));
  const isWhole = lineEnd + FOLLOWING_READ >= text.length;
  return isWhole ? following : following.slice(0, following.lastIndexOf("\n") + 1 || undefined);
}

/** A stretch of a document as the model sees it; of one that is not kept, none. */
export function textIn(document: OpenDocument, start: number, offset: number): string {
  return asModelSees(document.text?.getText().slice(start, offset) ?? "");
}

/**
 * Where a window begins that had best be read ahead, because the one in use is small or nearly full; null when that one
 * will do for a while.
 */
export function roomierStart(text: string, offset: number, maxBytes: number, current: number): number | null {
  const length = byteLength(text.slice(current, offset));
  const isSmall = current > 0 && length < maxBytes * 0.4;
  if (!isSmall && length < maxBytes * 0.9) return null;
  const start = startOfAbout(text, offset, maxBytes / 2, maxBytes * 0.75);
  return start === current ? null : start;
}

/**
 * `current` as long as it lies before the cursor and the window is not longer than `maxBytes`; else the start of a line
 * (or of a character, in a long line) so that the window is a quick one.
 */
export function windowStart(text: string, offset: number, maxBytes: number, current: number | null): number {
  if (current !== null && current <= offset && offset - current <= maxBytes) {
    // A window that could be moved back towards the document's start is one that was placed further down.
    const short = current > 0 && offset - current < Math.min(maxBytes / 8, QUICK_BYTES / 4);
    if (!short && byteLength(text.slice(current, offset)) <= maxBytes) return current;
  }
  return startOfAbout(text, offset, Math.min(maxBytes / 2, QUICK_BYTES), Math.min(maxBytes, QUICK_BYTES));
}

/** The text's start when that is `most` bytes away at most, else the start of a line about `bytes` bytes away. */
function startOfAbout(text: string, offset: number, bytes: number, most: number): number {
  if (offset <= most && byteLength(text.slice(0, offset)) <= most) return 0;
  const start = startOfLast(text, offset, Math.floor(bytes));
  const line = text.indexOf("\n", start - 1) + 1;
  // A line as long as the window would leave nothing of it.
  return line > 0 && offset - line >= bytes / 4 ? line : start;
}

/** Where the last `bytes` bytes before `offset` begin, at a whole character. */
function startOfLast(text: string, offset: number, bytes: number): number {
  let start = offset;
  for (let left = bytes; start > 0; ) {
    const pair = start > 1 && isLow(text.charCodeAt(start - 1)) && isHigh(text.charCodeAt(start - 2));
    const from = start - (pair ? 2 : 1);
    left -= pair ? 4 : unitBytes(text.charCodeAt(from));
    if (left < 0) break;
    start = from;
  }
  return start;
}

function unitBytes(unit: number): number {
  return unit < 0x80 ? 1 : unit < 0x800 ? 2 : 3;
}

function isHigh(unit: number): boolean {
  return unit >= 0xd800 && unit < 0xdc00;
}

function isLow(unit: number): boolean {
  return unit >= 0xdc00 && unit < 0xe000;
}

function asModelSees(text: string): string {
  return text.replace(/^\uFEFF/, "").replace(/\r\n?/g, "\n");
}

/** Where the line ends in which `offset` lies. */
export function lineEndFrom(text: string, offset: number): number {
  let end = offset;
  while (end < text.length && text[end] !== "\n" && text[end] !== "\r") end++;
  return end;
}

/** The line end before the cursor, or else the next one. */
function eolNear(text: string, offset: number): "\n" | "\r\n" {
  const before = offset > 0 ? text.lastIndexOf("\n", offset - 1) : -1;
  const at = before >= 0 ? before : text.indexOf("\n", offset);
  return at > 0 && text[at - 1] === "\r" ? "\r\n" : "\n";
}
