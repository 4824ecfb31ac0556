/**
 * An open document as the entropy model reads it: the text in bytes with line ends as "\n", kept in step with the editor's
 * changes, and its lines as the overlay shows them.
 */
import type { Position, TextDocumentContentChangeEvent } from "vscode-languageserver/node";
import type { PatchingConfig } from "../model-runtime/checkpoint/config";
import { characterLength } from "../model-runtime/display/characters";
import { entropyLevel } from "../model-runtime/display/colours";
import type { Patcher } from "../model-runtime/model/entropy-model";
import { PatchedBuffer, type Span } from "../model-runtime/patching/patched-buffer";
import { usesEntropy } from "../model-runtime/patching/patcher-rule";
import { LineIndex } from "./line-index";
import { type Mix, MixedEntropies } from "./mixed-entropies";
import type { LineRange, LineView } from "./overlay-protocol";

/** Line ends as the model sees them, and a lone surrogate as U+FFFD. */
export function asRead(text: string): Buffer {
  return Buffer.from(text.replace(/\r\n?/g, "\n"), "utf8");
}

export class ReadText {
  readonly buffer: PatchedBuffer;
  /** Entropies with the workspace's counts; null until `mixWith`. */
  mixed: MixedEntropies | null = null;
  /** Whether `views` shows these. */
  showsMixed = false;
  private readonly lines: LineIndex;

  /**
   * A `UserError` when the model cannot patch by these settings.
   *
   * @param onChange called with the lines of which values have changed, but for the edits themselves
   */
  constructor(
    text: string,
    public version: number,
    patching: PatchingConfig,
    private readonly patcher: Omit<Patcher, "release"> | null,
    onChange: (lines: LineRange) => void = () => undefined,
  ) {
    const bytes = asRead(text);
    this.buffer = new PatchedBuffer(bytes, patching, patcher, (changed) => onChange(this.linesOf(changed)));
    this.lines = new LineIndex(lineLengths(bytes));
  }

  get lineCount(): number {
    return this.lines.count;
  }

  /**
   * Takes a change of the document.
   * @returns the lines whose values may be other ones, and how many lines there are more behind them than before
   */
  change(change: TextDocumentContentChangeEvent, version: number): { lines: LineRange; added: number } {
    this.version = version;
    const inserted = asRead(change.text);
    const before = this.lines.count;
    const [from, to] =
      "range" in change
        ? [change.range.start, change.range.end].map((position) => this.clamped(position)).sort(byPosition)
        : [this.clamped({ line: 0, character: 0 }), this.clamped({ line: before, character: 0 })];
    const lengths = lineLengths(inserted);
    lengths[0] += from.byte - from.start;
    lengths[lengths.length - 1] += to.start + this.lines.lengthOf(to.line) - to.byte;
    this.lines.replace(from.line, to.line, lengths);
    const edit = { start: from.byte, deleted: to.byte - from.byte, inserted };
    const changed = this.buffer.edit(edit);
    const mixed = this.mixed?.edited(edit);
    const all =
      mixed === undefined || !this.showsMixed ? changed : { from: changed.from, to: Math.max(changed.to, mixed.to) };
    return { lines: this.linesOf(all), added: this.lines.count - before };
  }

  /** The entropies with the counts of `mix`; null for a text whose patches are cut without entropies. */
  mixWith(mix: Mix): MixedEntropies | null {
    const { patcher, buffer } = this;
    if (this.mixed === null && patcher !== null && usesEntropy(buffer.patching))
      this.mixed = new MixedEntropies(buffer, patcher, mix);
    return this.mixed;
  }

  /** The bytes of lines; the byte that is to come belongs to the last one. */
  spanOf({ from, to }: LineRange): Span {
    const end = this.lines.startOf(to);
    return { from: this.lines.startOf(from), to: to >= this.lines.count ? end + 1 : end };
  }

  /** The lines that bytes lie in. */
  linesOf({ from, to }: Span): LineRange {
    return { from: this.lines.lineAt(from).line, to: this.lines.lineAt(Math.max(from, to - 1)).line + 1 };
  }

  /** Byte offset of a position, and of the character it is in. */
  byteAt(position: Position): number {
    const { start, byte, line } = this.clamped(position);
    const bytes = this.lineBytes(line, start);
    let at = 0;
    for (
      let next = 0;
      next < bytes.length && start + next <= byte;
      next += Math.max(1, characterLength(bytes, next, bytes.length))
    )
      at = next;
    return byte >= start + bytes.length ? byte : start + at;
  }

  positionAt(byte: number): Position {
    const { line, start } = this.lines.lineAt(byte);
    return { line, character: columns(this.buffer.bytes(start, byte)) };
  }

  /** Lines as the overlay shows them, what is known of them. */
  views({ from, to }: LineRange): LineView[] {
    const views: LineView[] = [];
    let start = this.lines.startOf(from);
    for (let line = from; line < Math.min(to, this.lines.count); line++) {
      views.push(this.view(line, start));
      start += this.lines.lengthOf(line);
    }
    return views;
  }

  /** The lines with the highest mean entropy, if it is well above that of all lines; at most `most`. */
  surprisingLines(most: number): number[] {
    const found: { line: number; mean: number }[] = [];
    const entropies = this.buffer.entropies();
    let start = 0;
    for (let line = 0; line < this.lines.count; line++) {
      const end = start + this.lines.lengthOf(line);
      let sum = 0;
      for (let i = start; i < end; i++) sum += entropies[i];
      // The shortest lines are brackets and blanks: nothing to look at.
      if (end - start >= LEAST_LINE) found.push({ line, mean: sum / (end - start) });
      start = end;
    }
    const mean = found.reduce((sum, each) => sum + each.mean, 0) / found.length;
    const spread = Math.sqrt(found.reduce((sum, each) => sum + (each.mean - mean) ** 2, 0) / found.length);
    return found
      .filter((each) => each.mean > mean + spread)
      .sort((a, b) => b.mean - a.mean)
      .slice(0, Math.min(most, Math.ceil(this.lines.count / 20)))
      .map(({ line }) => line)
      .sort((a, b) => a - b);
  }

  private view(line: number, start: number): LineView {
    const bytes = this.buffer.bytes(start, start + this.lines.lengthOf(line));
    const shown = this.showsMixed && this.mixed !== null ? this.mixed : this.buffer;
    const entropies = shown.entropies(start, start + bytes.length);
    const view: LineView = { levels: "", starts: [], inner: [] };
    for (let at = 0; at < bytes.length; ) {
      const length = Math.max(1, characterLength(bytes, at, bytes.length));
      const column = view.levels.length;
      if (this.buffer.startsPatch(start + at)) view.starts.push(column);
      let most = entropies[at];
      let cut = false;
      for (let i = at + 1; i < at + length; i++) {
        most = Math.max(most, entropies[i]);
        cut ||= this.buffer.startsPatch(start + i);
      }
      if (cut) view.inner.push(column);
      const level = Number.isNaN(most) ? " " : String(entropyLevel(most));
      view.levels += length === 4 ? level + level : level;
      at += length;
    }
    return view;
  }

  /** A position within the text: its line, where that starts, and its byte. */
  private clamped({ line, character }: Position): Place {
    if (line >= this.lines.count) {
      const last = this.lines.count - 1;
      const start = this.lines.startOf(last);
      return { line: last, start, byte: start + this.lines.lengthOf(last) };
    }
    const start = this.lines.startOf(Math.max(0, line));
    const text = Buffer.from(this.lineBytes(Math.max(0, line), start)).toString("utf8");
    const before = text.slice(0, Math.max(0, character));
    // Not between the halves of a character.
    const whole = text.length > before.length && /[\uD800-\uDBFF]$/.test(before) ? before.slice(0, -1) : before;
    return { line: Math.max(0, line), start, byte: start + Buffer.byteLength(whole) };
  }

  /** Bytes of a line without its end. */
  private lineBytes(line: number, start: number): Uint8Array {
    return this.buffer.bytes(start, start + this.lines.lengthOf(line) - (this.lines.hasEnd(line) ? 1 : 0));
  }
}

/** Bytes below which a line is not called surprising. */
const LEAST_LINE = 8;

interface Place {
  line: number;
  start: number;
  byte: number;
}

function byPosition(a: Place, b: Place): number {
  return a.byte - b.byte;
}

/** UTF-16 code units of bytes that begin at a character. */
function columns(bytes: Uint8Array): number {
  return Buffer.from(bytes).toString("utf8").length;
}

function lineLengths(bytes: Uint8Array): number[] {
  const lengths: number[] = [];
  let start = 0;
  for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, start)) {
    lengths.push(end + 1 - start);
    start = end + 1;
  }
  lengths.push(bytes.length - start);
  return lengths;
}

const NEWLINE = 0x0a;
