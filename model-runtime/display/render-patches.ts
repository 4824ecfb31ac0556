/**
 * Patches and entropies as text for people: colours that change at each boundary, a scale of entropy, or `|` between
 * patches. What a terminal would not show, or obey, has a mark: newline, tab, control bytes. Bytes that are no whole
 * character of their patch (invalid UTF-8, or a boundary inside a character) are shown as `\xE2`.
 */
import { characterLength } from "./characters";
import { entropyLevel } from "./colours";
import { type ColourDepth, plain, terminalColours } from "./terminal-colours";

/** What is shown by colour: the patches, the entropy before each byte, or entropy with a bar where patches start. */
export const views = ["patches", "entropy", "both"] as const;
export type View = (typeof views)[number];

export interface RenderOptions {
  /** Without colours there is a bar between patches, whatever the view. */
  colours: ColourDepth;
  view: View;
}

/** Length of the pieces of text, about. */
const pieceLength = 2 ** 16;

/**
 * The text of n `bytes` in pieces.
 *
 * @param starts byte offsets at which patches start, ascending, the first 0
 * @param entropies [n] or more, nats before each byte; may be null in view `patches`
 */
export function* renderPatches(
  bytes: Uint8Array,
  starts: ArrayLike<number>,
  entropies: ArrayLike<number> | null,
  { colours, view }: RenderOptions,
): Generator<string> {
  const sequences = colours === "none" ? null : terminalColours(colours);
  const hasBars = sequences === null || view === "both";
  let piece = "";
  /** The sequence in force. */
  let current = "";
  const paint = (wanted: string): string => {
    if (wanted === current) return "";
    const change = (current === "" ? "" : plain) + wanted;
    current = wanted;
    return change;
  };
  for (let patch = 0; patch < starts.length; patch++) {
    const end = patch + 1 < starts.length ? starts[patch + 1] : bytes.length;
    if (hasBars && patch > 0) piece += `${paint("")}|`;
    for (let at = starts[patch]; at < end; ) {
      const length = Math.max(1, characterLength(bytes, at, end));
      const colour =
        sequences === null
          ? ""
          : view === "patches"
            ? sequences.patches[patch % sequences.patches.length]
            : sequences.levels[levelOf(entropies!, at, length)];
      piece += paint(colour);
      // Colours end before the line does, as a terminal would draw on to its edge.
      if (bytes[at] === NEWLINE) piece += `↵${paint("")}\n`;
      else piece += character(bytes, at, end);
      at += length;
      if (piece.length > pieceLength) {
        yield piece;
        piece = "";
      }
    }
  }
  piece += paint("");
  if (piece !== "") yield piece;
}

const NEWLINE = 0x0a;
const TAB = 0x09;
const DELETE = 0x7f;

/** Symbols of the control characters from 0 on. */
const CONTROL_PICTURES = 0x2400;

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** Of a character: that of its most surprising byte. */
function levelOf(entropies: ArrayLike<number>, at: number, length: number): number {
  let most = 0;
  for (let i = at; i < at + length; i++) most = Math.max(most, entropies[i]);
  return entropyLevel(most);
}

/** The character that begins at `at` and ends by `end`, or the mark of what stands there. */
export function character(bytes: Uint8Array, at: number, end: number): string {
  const length = characterLength(bytes, at, end);
  if (length === 0) return hexadecimal(bytes[at]);
  if (length === 1) {
    const byte = bytes[at];
    if (byte === TAB) return "⇥";
    if (byte === NEWLINE) return "↵";
    if (byte < 0x20) return String.fromCharCode(CONTROL_PICTURES + byte);
    return byte === DELETE ? "␡" : String.fromCharCode(byte);
  }
  const whole = bytes.subarray(at, at + length);
  const text = decoder.decode(whole);
  // Control and format characters (direction marks, joiners) and line separators change how others are shown.
  return /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(text) ? Array.from(whole, hexadecimal).join("") : text;
}

function hexadecimal(byte: number): string {
  return `\\x${byte.toString(16).toUpperCase().padStart(2, "0")}`;
}
