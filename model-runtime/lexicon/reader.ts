/**
 * A text read by the latent transformer and the lexicon: the distribution of its next byte, a function of the text alone
 * (docs/lexicon.md, sections 5 and 6). Bytes come and go at once; the state follows when a distribution is asked for.
 *
 * Shapes: S sorted pieces.
 */
import type { ByteModel } from "./byte-model";
import { type FirstReading, type LexiconRule, OpenWord } from "./open-word";
import type { Lexicon } from "./pieces";
import type { SortedPieces } from "./sorted-pieces";
import { Words } from "./words";

/** What the reader asks of the latent transformer. */
export interface PieceLatent {
  /** Mass of the piece after this path, [S + 1] in sorted order, EOS last; the array is not changed afterwards. */
  ask(path: Int32Array, signal?: AbortSignal): Promise<ArrayLike<number>>;
  /** Paths that share much with this one are going to be asked after: it is run at once and stays cached until `forget`. */
  expect(path: Int32Array, signal?: AbortSignal): Promise<void>;
  forget(): void;
}

/** What all readers of a model share. */
export interface ReaderParts {
  lexicon: Lexicon;
  table: SortedPieces;
  rule: LexiconRule;
  latent: PieceLatent;
  bosPiece: number;
  /** Longest path the latent may be asked after. */
  maxPositions: number;
}

export class LexiconReader {
  private words = new Words();
  private settled = new SettledPieces();
  private open: OpenedWord | null = null;
  /** The byte model's distribution after the bytes that have been read. */
  private byteModelNow: Float64Array | null = null;

  constructor(
    private readonly parts: ReaderParts,
    private readonly byteModel: ByteModel,
  ) {}

  /** Number of bytes. */
  get length(): number {
    return this.words.length;
  }

  /** The text, as a view that holds until the next append. */
  get text(): Uint8Array {
    return this.words.text;
  }

  /** The open word in the state of the last `distribution`, and where it starts; null before. */
  get openWord(): Readonly<OpenedWord> | null {
    return this.open;
  }

  /** Where the pieces of the text begin, as they would be cut if it ended here. */
  get pieceStarts(): number[] {
    const { lexicon } = this.parts;
    const { words } = this;
    const starts: number[] = [];
    for (let word = 0; word < words.wordCount; word++) {
      const start = words.startOf(word);
      const cut = lexicon.cutWord(words.text.subarray(start, words.startOf(word + 1)));
      for (const offset of cut.starts) starts.push(start + offset);
    }
    return starts;
  }

  append(bytes: ArrayLike<number>): void {
    for (let i = 0; i < bytes.length; i++) this.words.append(bytes[i]);
  }

  /** Forgets the bytes from `length` on. */
  truncate(length: number): void {
    if (length === this.length) return;
    this.words.truncate(length);
    this.settled.truncate(this.words.openIndex);
    this.byteModel.truncate(length);
    if (this.open !== null && this.open.read > length) this.open = null;
  }

  /**
   * Probabilities of the symbol after the text, [257], EOS last.
   * @param signal stops before the next run of a network; the reader then stays usable
   */
  async distribution(signal?: AbortSignal): Promise<Float64Array> {
    try {
      await this.read(signal);
    } catch (error) {
      this.open = null;
      throw error;
    }
    return this.open!.word.distribution(this.byteModelNow!);
  }

  /**
   * Bytes that are going to be appended and read one by one: the latent runs over their pieces at once. Results do not
   * depend on it. `expectNothing` ends it.
   */
  async expect(bytes: ArrayLike<number>, signal?: AbortSignal): Promise<void> {
    const { lexicon, latent } = this.parts;
    const words = this.words.fork();
    for (let i = 0; i < bytes.length; i++) words.append(bytes[i]);
    this.settled.follow(this.words, lexicon);
    const settled = this.settled.fork();
    settled.follow(words, lexicon);
    const skipped = this.skipped(this.settled.pieces.length);
    const end = Math.min(settled.pieces.length, this.room + skipped);
    await latent.expect(pathOf(this.parts.bosPiece, settled.pieces.subarray(skipped, end)), signal);
  }

  expectNothing(): void {
    this.parts.latent.forget();
  }

  /** An independent copy. Readers of one model share its latent, which is asked by whole paths. */
  fork(): LexiconReader {
    const copy = new LexiconReader(this.parts, this.byteModel.fork());
    copy.words = this.words.fork();
    copy.settled = this.settled.fork();
    copy.open = this.open === null ? null : { ...this.open, word: this.open.word.fork() };
    copy.byteModelNow = this.byteModelNow;
    return copy;
  }

  /** Brings the open word's state up to the end of the text. */
  private async read(signal?: AbortSignal): Promise<void> {
    const { words } = this;
    const { wordLimit } = this.parts.rule;
    const start = words.open;
    const opened = start + Math.floor((words.length - start) / wordLimit) * wordLimit;
    if (this.open === null || this.open.start !== start || this.open.opened !== opened)
      this.open = await this.openAt(start, opened, signal);
    else if (this.open.read === words.length && this.byteModelNow !== null) return;
    const { open } = this;
    const rows = await this.byteModel.after(words.text, open.read, words.length, signal);
    for (const row of rows.slice(0, -1)) {
      const byte = words.text[open.read];
      open.word.write(byte, row[byte]);
      open.read++;
      for (let piece = open.word.stale(); piece !== null; piece = open.word.stale())
        open.word.refresh(piece, await this.ask(open, piece.own, piece.pieces, signal));
    }
    this.byteModelNow = rows[rows.length - 1];
  }

  /** The word with its own cut as readings: before it, and after each piece of it from which a longer piece could go on. */
  private async openAt(start: number, opened: number, signal?: AbortSignal): Promise<OpenedWord> {
    const { lexicon, table, rule } = this.parts;
    const { words } = this;
    this.settled.follow(words, lexicon);
    const written = words.text.subarray(start, opened);
    const cut = lexicon.cut(written);
    const count = cut.pieces.length;
    const endOf = (own: number) => (own === 0 ? 0 : own < count ? cut.starts[own] : written.length);
    // Weights count relative to each other only, so the cuts before the first that matters need not be asked after.
    let first = 0;
    while (first < count && !this.goesOn(written, endOf(first))) first++;
    const place = { start, opened, read: opened, cut: cut.pieces };
    // The longest path first: the others are then cached.
    const masses: ArrayLike<number>[] = [];
    for (let own = count; own >= first; own--) masses[own] = await this.ask(place, own, [], signal);
    const readings: FirstReading[] = [];
    for (let own = first, weight = 1; own <= count; own++) {
      if (own > first) weight *= masses[own - 1][table.place[cut.pieces[own - 1]]];
      readings.push({ own, end: endOf(own), weight, mass: masses[own] });
    }
    return { ...place, word: OpenWord.open(table, rule, readings, written) };
  }

  /** Whether a piece begins with all the written bytes from `from` on and is longer. */
  private goesOn(written: Uint8Array, from: number): boolean {
    const { table } = this.parts;
    if (written.length - from >= table.longest) return false;
    let range = table.all();
    for (let at = from; at < written.length; at++) range = table.narrow(range, written[at]);
    return table.goesOn(range);
  }

  private ask(
    { cut }: Pick<OpenedWord, "cut">,
    own: number,
    pieces: readonly number[],
    signal?: AbortSignal,
  ): Promise<ArrayLike<number>> {
    const { bosPiece, latent } = this.parts;
    const settled = this.settled.pieces;
    const skipped = this.skipped(settled.length + cut.length);
    const front = settled.subarray(Math.min(skipped, settled.length));
    const back = [...cut.slice(Math.max(0, skipped - settled.length), own), ...pieces];
    return latent.ask(pathOf(bosPiece, front, back), signal);
  }

  /** Pieces that are left out far back when a word is opened after `count`: half a context at a time, so that most of it stays cached. */
  private skipped(count: number): number {
    const over = count - this.room;
    return over <= 0 ? 0 : Math.ceil(over / (this.room >> 1)) * (this.room >> 1);
  }

  /** Pieces that a path may hold when a word is opened. */
  private get room(): number {
    return this.parts.maxPositions - 1 - this.parts.rule.wordLimit;
  }
}

function pathOf(bosPiece: number, front: Int32Array, back: readonly number[] = []): Int32Array {
  const path = new Int32Array(1 + front.length + back.length);
  path[0] = bosPiece;
  path.set(front, 1);
  path.set(back, 1 + front.length);
  return path;
}

/** An open word, and how far its state has come. */
interface OpenedWord {
  /** Where it starts, where it was opened, and up to where it has been read, in the text. */
  start: number;
  opened: number;
  read: number;
  /** Pieces of its bytes up to `opened`. */
  cut: readonly number[];
  word: OpenWord;
}

/** Pieces of the words that no later byte can change. */
class SettledPieces {
  private buffer = new Int32Array(256);
  /** Number of pieces up to and with each word. */
  private ends: number[] = [];

  get pieces(): Int32Array {
    return this.buffer.subarray(0, this.ends.length === 0 ? 0 : this.ends[this.ends.length - 1]);
  }

  /** Forgets the words from `count` on. */
  truncate(count: number): void {
    this.ends.length = Math.min(this.ends.length, count);
  }

  /** Takes the words that have been settled since. */
  follow(words: Words, lexicon: Lexicon): void {
    for (let word = this.ends.length; word < words.openIndex; word++) {
      const { pieces } = lexicon.cutWord(words.text.subarray(words.startOf(word), words.startOf(word + 1)));
      const count = this.pieces.length;
      if (count + pieces.length > this.buffer.length) {
        const grown = new Int32Array(2 * (count + pieces.length));
        grown.set(this.pieces);
        this.buffer = grown;
      }
      this.buffer.set(pieces, count);
      this.ends.push(count + pieces.length);
    }
  }

  fork(): SettledPieces {
    const copy = new SettledPieces();
    copy.buffer = this.buffer.slice();
    copy.ends = this.ends.slice();
    return copy;
  }
}
