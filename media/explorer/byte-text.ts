/** A text with its bytes: lines, places, and how a line looks when it is cut. Pure. */
import { characterLength } from "../../model-runtime/display/characters";
import type { Place } from "./messages";

/** A stretch of a line in one segment. */
export interface Cell {
  /** What is shown: the text, or hexadecimal bytes where a boundary cuts a character. */
  text: string;
  /** Number of the segment in the whole text. */
  segment: number;
  /** Whether the segment starts here. */
  isStart: boolean;
  /** Whether `text` is hexadecimal. */
  isHex: boolean;
  /** Byte offset of the stretch. */
  at: number;
}

export class ByteText {
  readonly bytes: Uint8Array;
  /** Byte offset of each line. */
  readonly lineStarts: number[] = [0];

  constructor(readonly text: string) {
    this.bytes = new TextEncoder().encode(text);
    for (let at = this.bytes.indexOf(NEWLINE); at >= 0; at = this.bytes.indexOf(NEWLINE, at + 1))
      this.lineStarts.push(at + 1);
  }

  get lineCount(): number {
    return this.lineStarts.length;
  }

  /** End of a line, its line end included. */
  lineEnd(line: number): number {
    return line + 1 < this.lineStarts.length ? this.lineStarts[line + 1] : this.bytes.length;
  }

  lineOf(byte: number): number {
    return lastAtMost(this.lineStarts, byte);
  }

  placeOf(byte: number): Place {
    const line = this.lineOf(byte);
    return { line, character: this.decode(this.lineStarts[line], byte).length };
  }

  byteOf({ line, character }: Place): number {
    if (line >= this.lineCount) return this.bytes.length;
    const text = this.decode(this.lineStarts[line], this.lineEnd(line));
    return this.lineStarts[line] + new TextEncoder().encode(text.slice(0, character)).length;
  }

  /**
   * A line cut at `starts`, with marks for tab and line end.
   *
   * @param starts byte offsets of all segments, ascending, the first 0
   */
  cells(line: number, starts: ArrayLike<number>): Cell[] {
    const cells: Cell[] = [];
    const end = this.lineEnd(line);
    let at = this.lineStarts[line];
    let segment = lastAtMost(starts, at);
    while (at < end) {
      while (segment + 1 < starts.length && starts[segment + 1] <= at) segment++;
      const segmentEnd = segment + 1 < starts.length ? starts[segment + 1] : this.bytes.length;
      const length = Math.max(1, characterLength(this.bytes, at, this.bytes.length));
      const isStart = starts[segment] === at;
      const isCut = at + length > segmentEnd;
      if (isCut) {
        // A character that is cut is shown as its bytes, each in its own segment.
        for (const stop = at + length; at < stop; at++) {
          while (segment + 1 < starts.length && starts[segment + 1] <= at) segment++;
          push(cells, { text: hex(this.bytes[at]), segment, isStart: starts[segment] === at, isHex: true, at });
        }
        continue;
      }
      push(cells, { text: mark(this.decode(at, at + length)), segment, isStart, isHex: false, at });
      at += length;
    }
    return cells;
  }

  /** A stretch as people read it. */
  shown(from: number, to: number): string {
    return [...this.decode(from, to)].map((character) => mark(character).trim() || "·").join("");
  }

  private decode(from: number, to: number): string {
    return decoder.decode(this.bytes.subarray(from, to));
  }
}

function push(cells: Cell[], cell: Cell): void {
  const last = cells.at(-1);
  if (last !== undefined && last.segment === cell.segment && last.isHex === cell.isHex && !cell.isStart)
    last.text += cell.text;
  else cells.push(cell);
}

/** Index of the last of ascending numbers that is at most `value`; 0 if there is none. */
export function lastAtMost(ascending: ArrayLike<number>, value: number): number {
  let [low, high] = [0, ascending.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (ascending[middle] <= value) low = middle;
    else high = middle - 1;
  }
  return low;
}

function mark(character: string): string {
  if (character === "\n") return "↵";
  if (character === "\t") return "⇥   ";
  return character < " " ? String.fromCharCode(0x2400 + character.charCodeAt(0)) : character;
}

function hex(byte: number): string {
  return byte.toString(16).toUpperCase().padStart(2, "0");
}

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const NEWLINE = 0x0a;
