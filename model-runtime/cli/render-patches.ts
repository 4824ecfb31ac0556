/**
 * Patches as text for people: colours that change at each boundary, or `|` between patches. What a terminal would not
 * show, or obey, has a mark: newline, tab, control bytes. Bytes that are no whole character of their patch (invalid
 * UTF-8, or a boundary inside a character) are shown as `\xE2`.
 */

export interface RenderOptions {
  coloured: boolean;
}

/** Length of the pieces of text, about. */
const pieceLength = 2 ** 16;

/**
 * The text of `bytes` in pieces.
 *
 * @param starts byte offsets at which patches start, ascending, the first 0
 */
export function* renderPatches(
  bytes: Uint8Array,
  starts: ArrayLike<number>,
  { coloured }: RenderOptions,
): Generator<string> {
  let piece = "";
  for (let patch = 0; patch < starts.length; patch++) {
    const end = patch + 1 < starts.length ? starts[patch + 1] : bytes.length;
    const colour = coloured ? colours[patch % colours.length] : "";
    if (!coloured && patch > 0) piece += "|";
    piece += colour;
    for (let at = starts[patch]; at < end; ) {
      const length = characterLength(bytes, at, end);
      if (bytes[at] === NEWLINE) {
        // Colours end before the line does, as a terminal would draw on to its edge.
        piece += coloured ? `↵${plain}\n${at + 1 < end ? colour : ""}` : "↵\n";
      } else piece += length > 0 ? character(bytes, at, length) : hexadecimal(bytes[at]);
      at += Math.max(1, length);
      if (piece.length > pieceLength) {
        yield piece;
        piece = "";
      }
    }
    if (coloured && bytes[end - 1] !== NEWLINE) piece += plain;
  }
  if (piece !== "") yield piece;
}

/** Black on pale blue and on pale orange: both colours are set, so that light and dark terminals show the same. */
const colours = ["\x1b[38;5;16;48;5;153m", "\x1b[38;5;16;48;5;223m"];
const plain = "\x1b[0m";

const NEWLINE = 0x0a;
const TAB = 0x09;
const DELETE = 0x7f;

/** Symbols of the control characters from 0 on. */
const CONTROL_PICTURES = 0x2400;

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

function character(bytes: Uint8Array, at: number, length: number): string {
  if (length === 1) {
    const byte = bytes[at];
    if (byte === TAB) return "⇥";
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

/** Length of the UTF-8 character that begins at `at` and ends by `end`; 0 when there is none (Unicode table 3-7). */
export function characterLength(bytes: Uint8Array, at: number, end: number): number {
  const lead = bytes[at];
  const length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
  if (length === 0 || at + length > end) return 0;
  for (let i = 1; i < length; i++) if ((bytes[at + i] & 0xc0) !== 0x80) return 0;
  const second = bytes[at + 1];
  const overlong = (lead === 0xe0 && second < 0xa0) || (lead === 0xf0 && second < 0x90);
  const outside = (lead === 0xed && second >= 0xa0) || (lead === 0xf4 && second >= 0x90);
  return overlong || outside ? 0 : length;
}
