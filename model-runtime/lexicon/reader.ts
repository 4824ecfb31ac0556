/**
 * A text read by the latent transformer and the lexicon: the distribution of its next byte, a function of the text alone
 * (docs/lexicon.md, sections 5 and 6). Bytes come and go at once; the state follows when a distribution is asked for.
 *
 * Shapes: S sorted pieces.
 */
import type { DraftCosts } from "../generation/draft-record";
import type { GoOn } from "../model/text-state";
import type { ByteModel } from "./byte-model";
import { likelyEnds } from "./likely-ends";
import { type FirstReading, type LexiconRule, OpenWord } from "./open-word";
import type { Lexicon } from "./pieces";
import type { SortedPieces } from "./sorted-pieces";
import { Words } from "./words";

/** What the reader asks of the latent transformer. */
export interface PieceLatent {
  /**
   * Mass of the piece after this path, [S + 1] in sorted order, EOS last; the array is not changed afterwards. What is
   * asked before the first answer comes is answered together.
   */
  ask(path: Int32Array, signal?: AbortSignal): Promise<ArrayLike<number>>;
  /**
   * The next questions, and those that follow them, are likely to be about beginnings of this path, and perhaps about the
   * `others`. Results do not depend on it.
   */
  expect(path: Int32Array | null, others?: readonly Int32Array[]): void;
  /** Whether a path's answer is at hand. */
  knows?(path: Int32Array): boolean;
  /**
   * Proposes what follows a path, for far less than asking; null where nothing can be foreseen.
   * @param choose picks the piece to go on with, or ends with null
   */
  readonly foresee?: (
    path: Int32Array,
    choose: (proposals: readonly Proposal[]) => number | null,
    signal?: AbortSignal,
  ) => Promise<void> | null;
  /** What runs of several positions cost; null where nothing is known. */
  readonly costs?: RunShares | null;
  /** Another value once answers are another model's. */
  readonly version?: unknown;
}

/** As shares of a run of one position: what a run of several takes besides, and each further position. */
export interface RunShares {
  run: number;
  position: number;
}

/** A piece that may come next, and its chance. */
export interface Proposal {
  piece: number;
  chance: number;
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

/** Lengths of the text at which the open word's state is kept, so that going back to them costs nothing. */
const KEPT_STATES = 64;
/** Chance from which on the rest of a piece is read by the byte model along with its first byte. */
const LIKELY_REST = 0.5;
const NOTHING = new Uint8Array(0);
/** Chance from which on a question that a draft may lead to is asked along with it: a row costs a tenth of a run. */
const LIKELY_SHARE = 0.5;

/** On an ordinary processor. */
const USUAL_SHARES: RunShares = { run: 0.25, position: 0.12 };
/** Bytes that a run of one position is good for, in code. */
const PIECE_BYTES = 3;
/** Positions that a draft makes be read for each of its pieces, and runs that follow the first. */
const POSITIONS = 1.4;
const SECOND_RUNS = 0.2;

export class LexiconReader {
  private words = new Words();
  private settled = new SettledPieces();
  private open: OpenedWord | null = null;
  /** The byte model's distribution after the bytes that have been read. */
  private byteModelNow: Float64Array | null = null;
  /** The latent's when it was last asked. */
  private version: unknown;
  /** States at lengths that were read, in ascending order, the one in use not among them. */
  private past: PastState[] = [];
  /** The open word with a byte behind the text, after which the latent has to be asked. */
  private unread: { at: number; open: OpenedWord } | null = null;

  constructor(
    private readonly parts: ReaderParts,
    private readonly byteModel: ByteModel,
  ) {}

  /** Number of bytes. */
  get length(): number {
    return this.words.length;
  }

  /** Bytes of memory held, without what the latent keeps. */
  get byteLength(): number {
    // Of a state: two sums and the byte model's distribution.
    return this.words.byteLength + this.settled.byteLength + this.past.length * 2 * 8 * 257;
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

  /** What a draft costs. A run is worth the bytes of a piece, so a byte takes its share of a position and of the questions beside it. */
  get draftCosts(): DraftCosts {
    const { run, position } = this.parts.latent.costs ?? USUAL_SHARES;
    return { byte: position * POSITIONS, run: (run + SECOND_RUNS) * PIECE_BYTES };
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
    this.past = this.past.filter(({ open }) => open.read <= length);
    if (this.open === null || this.open.read <= length) return;
    const last = this.past[this.past.length - 1];
    // A state at a shorter length may be of a word that is no longer the open one: `read` sees to that.
    [this.open, this.byteModelNow] = last === undefined ? [null, null] : [forkOf(last.open), last.byteModelNow];
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
   * Appends bytes and reads them as `distribution` would one by one, but all words side by side, so that the latent is
   * asked for what they need together.
   * @returns distributions after the text and each of its new bytes, [bytes.length] of [257]
   * @param signal as in `distribution`; the bytes are then not appended
   */
  async distributions(bytes: ArrayLike<number>, signal?: AbortSignal): Promise<Float64Array[]> {
    return this.undoneOnError(() => this.readTogether(bytes, signal));
  }

  /**
   * As `distributions`, of a byte and a draft behind it, which is left out from its first byte on that is too unlikely.
   * @param least share of the likeliest symbol's chance that a byte of the draft must have; 1 takes the likeliest only
   * @returns distributions after the byte and after each byte of the draft that was taken
   */
  async distributionsOfDraft(bytes: ArrayLike<number>, least: number, signal?: AbortSignal): Promise<Float64Array[]> {
    return this.undoneOnError(() => this.readTogether(bytes, signal, least));
  }

  /** Appends a byte if its distribution can be had without asking the latent; else null, and nothing has changed. */
  async distributionAlone(byte: number, signal?: AbortSignal): Promise<Float64Array | null> {
    return this.undoneOnError(() => this.readWithoutLatent(byte, signal));
  }

  /**
   * What is likely to follow the text and a byte behind it, piece by piece; the text stays as it is.
   * @param goOn as in `TextState.foresee`
   * @returns null where nothing can be foreseen
   */
  async foresee(
    byte: number,
    goOn: GoOn,
    signal?: AbortSignal,
  ): Promise<{ bytes: Uint8Array; chance: number }[] | null> {
    const { lexicon, latent, maxPositions } = this.parts;
    if (!latent.foresee) return null;
    const before = this.length;
    this.append([byte]);
    this.settled.follow(this.words, lexicon);
    const { path, lead } = this.likeliestPath(before);
    this.truncate(before);
    const first = lead === null || goOn(lead.chance, lead.bytes.length);
    if (!first) return [];
    const found: { bytes: Uint8Array; chance: number }[] = [];
    const foreseen =
      first === "last"
        ? Promise.resolve()
        : latent.foresee(
            path,
            (proposed) => {
              const [{ piece, chance }] = proposed;
              const bytes = lexicon.pieces[piece];
              const wanted = bytes !== null && path.length + found.length < maxPositions && goOn(chance, bytes.length);
              if (!wanted) return null;
              found.push({ bytes, chance });
              return wanted === "last" ? null : piece;
            },
            signal,
          );
    if (foreseen === null) return null;
    await foreseen;
    return lead === null ? found : [lead, ...found];
  }

  /** The pieces that the text most likely consists of, and bytes that the last of them still has to come. */
  private likeliestPath(before: number): { path: Int32Array; lead: { bytes: Uint8Array; chance: number } | null } {
    const open = this.unread?.at === before ? this.unread.open : null;
    const cut = open?.word.likeliestCut() ?? null;
    if (open === null || cut === null) return { path: this.wholePath(this.openPlace()).path, lead: null };
    const path = this.pathAfter(open, cut.own, cut.pieces);
    if (cut.missing === 0) return { path, lead: null };
    const bytes = this.parts.lexicon.pieces[cut.pieces[cut.pieces.length - 1]]!;
    return { path, lead: { bytes: bytes.subarray(bytes.length - cut.missing), chance: cut.chance } };
  }

  /** An independent copy. Readers of one model share its latent, which is asked by whole paths. */
  fork(): LexiconReader {
    const copy = new LexiconReader(this.parts, this.byteModel.fork());
    copy.words = this.words.fork();
    copy.settled = this.settled.fork();
    copy.open = this.open === null ? null : forkOf(this.open);
    copy.byteModelNow = this.byteModelNow;
    copy.version = this.version;
    return copy;
  }

  /** Brings the open word's state up to the end of the text. */
  private async read(signal?: AbortSignal): Promise<void> {
    const { words } = this;
    this.followVersion();
    this.settled.follow(words, this.parts.lexicon);
    const place = this.openPlace();
    const isOpen = this.open !== null && isAt(this.open, place);
    if (isOpen && this.open!.read === words.length && this.byteModelNow !== null) return;
    this.keepState();
    const open = isOpen ? this.open! : await this.openAt(place, signal);
    this.open = open;
    const rows = await this.byteModel.after(words.text, open.read, words.length, signal);
    for (const row of rows.slice(0, -1)) await this.write(open, row, signal);
    this.byteModelNow = rows[rows.length - 1];
  }

  /** Forgets what another model has said. */
  private followVersion(): void {
    const { version } = this.parts.latent;
    if (this.version === version) return;
    this.version = version;
    this.open = null;
    this.past = [];
  }

  /** Where the open word of the text is. */
  private openPlace(): Place {
    const { words } = this;
    const { wordLimit } = this.parts.rule;
    const start = words.open;
    const opened = start + Math.floor((words.length - start) / wordLimit) * wordLimit;
    return { start, opened, settledWords: words.openIndex };
  }

  /** Appends a byte if its distribution can be had without asking the latent; else null, and nothing has changed. */
  private async readWithoutLatent(byte: number, signal?: AbortSignal): Promise<Float64Array | null> {
    this.followVersion();
    const { words, open } = this;
    const before = words.length;
    this.unread = null;
    if (open === null || open.read !== before) return null;
    words.append(byte);
    const next = await this.openWithoutLatent(open, this.openPlace(), signal);
    if (next !== null) {
      const ahead = () => this.likelyRest(next, byte);
      const rows = await this.byteModel.after(words.text, next.read, words.length, signal, ahead);
      while (next.read < words.length && next.word.stale() === null) writeInto(next, words.text, rows.shift()!);
      if (next.read === words.length && next.word.stale() === null) {
        this.keepState();
        [this.open, this.byteModelNow] = [next, rows[0]];
        return next.word.distribution(rows[0]);
      }
      if (next.read === words.length) this.unread = { at: before, open: next };
    }
    this.truncate(before);
    return null;
  }

  /** What is likely to follow a byte behind an open word: the rest of its likeliest piece. */
  private likelyRest({ word }: OpenedWord, byte: number): Uint8Array {
    const cut = word.likeliestCut();
    if (cut === null || cut.missing < 2 || cut.chance < LIKELY_REST) return NOTHING;
    const piece = this.parts.lexicon.pieces[cut.pieces[cut.pieces.length - 1]]!;
    const rest = piece.subarray(piece.length - cut.missing);
    return rest[0] === byte ? rest.subarray(1) : NOTHING;
  }

  /** The open word as far as it has been read, where that takes no run of the latent. */
  private async openWithoutLatent(open: OpenedWord, place: Place, signal?: AbortSignal): Promise<OpenedWord | null> {
    if (isAt(open, place)) return forkOf(open);
    if (place.opened !== place.start) return null;
    this.settled.follow(this.words, this.parts.lexicon);
    const isKnown = this.parts.latent.knows?.(this.pathAfter({ ...place, cut: [] }, 0, []));
    return isKnown ? this.openAt(place, signal) : null;
  }

  private async undoneOnError<Result>(act: () => Promise<Result>): Promise<Result> {
    const before = this.length;
    try {
      return await act();
    } catch (error) {
      this.truncate(before);
      this.open = null;
      this.past = [];
      throw error;
    } finally {
      this.parts.latent.expect(null);
    }
  }

  private async readTogether(bytes: ArrayLike<number>, signal?: AbortSignal, least = 0): Promise<Float64Array[]> {
    const { words } = this;
    const before = words.length;
    this.followVersion();
    this.keepState();
    const spans: Span[] = [];
    for (let i = 0; i < bytes.length; i++) {
      words.append(bytes[i]);
      const place = this.openPlace();
      const last = spans[spans.length - 1];
      if (last !== undefined && isAt(last.place, place)) last.to = words.length;
      else spans.push({ place, from: words.length, to: words.length });
    }
    if (spans.length === 0) return [];
    this.settled.follow(words, this.parts.lexicon);
    // A state from before the new bytes goes on; all other words are opened anew.
    const going = this.open !== null && isAt(this.open, spans[0].place) ? forkOf(this.open) : null;
    // A long word may have been opened anew behind where, as more comes, its last bytes turn out to be a word of their own.
    const firstRow = Math.min(...spans.map(({ place }, i) => (i === 0 && going !== null ? going.read : place.opened)));
    const rows = await this.byteModel.after(words.text, firstRow, words.length, signal);
    const { path, others } = this.expected(spans, (length) => rows[length - firstRow]);
    this.parts.latent.expect(path, others);
    /** Length of the text behind which nothing is wanted, as far as is known. */
    let end = words.length;
    const states = await Promise.all(
      spans.map(async ({ place, from, to }, i) => {
        const open = i === 0 && going !== null ? going : await this.openAt(place, signal);
        const read: ReadState[] = [];
        for (;;) {
          const row = rows[open.read - firstRow];
          if (open.read >= from) {
            const distribution = open.word.distribution(row);
            read.push({ open: open.read < to ? forkOf(open) : open, byteModelNow: row, distribution });
            const isWrong =
              open.read < words.length && distribution[words.text[open.read]] < least * largest(distribution);
            if (isWrong) end = Math.min(end, open.read);
          }
          if (open.read === to || open.read >= end) return read;
          await this.write(open, row, signal);
        }
      }),
    );
    const all = states.flat().slice(0, end - before);
    if (end < words.length) {
      words.truncate(end);
      this.settled.truncate(words.openIndex);
      this.byteModel.truncate(end);
    }
    const distributions = all.map(({ distribution }) => distribution);
    const now = all.pop()!;
    [this.open, this.byteModelNow] = [now.open, now.byteModelNow];
    this.past = [...this.past, ...all].slice(-KEPT_STATES);
    return distributions;
  }

  /**
   * The pieces of the text as far as they are likely to stay, and what else is likely to be asked.
   * @param byteModelAt after so many bytes of the text
   */
  private expected(
    spans: readonly Span[],
    byteModelAt: (length: number) => Float64Array,
  ): { path: Int32Array; others: Int32Array[] } {
    const last = spans[spans.length - 1].place;
    const { path, openPieces } = this.wholePath(last);
    const others = spans.flatMap(({ place, to }, i) => {
      // What is asked inside a word that was open before depends on its readings.
      if (place.opened !== place.start || (i === 0 && this.open !== null && isAt(this.open, place))) return [];
      const word = this.words.text.subarray(place.start, to);
      return likelyEnds(this.parts.table, word, (length) => byteModelAt(place.start + length), LIKELY_SHARE).map(
        ({ pieces }) => this.pathAfter({ ...place, cut: [] }, 0, pieces),
      );
    });
    // What falls into several pieces is likely to be the beginning of a word, whose cut is another one.
    return { path: path.subarray(0, path.length - (openPieces === 1 ? 0 : openPieces)), others };
  }

  /** The pieces of the text as it is, those of the open word among them. */
  private wholePath({ start }: Place): { path: Int32Array; openPieces: number } {
    const { lexicon, bosPiece, maxPositions } = this.parts;
    const settled = this.settled.pieces;
    const front = settled.subarray(Math.min(settled.length, this.skipped(settled.length)));
    const open = lexicon.cut(this.words.text.subarray(start)).pieces;
    return { path: pathOf(bosPiece, front, open).subarray(0, maxPositions), openPieces: open.length };
  }

  /** Keeps the state in use before it goes on. */
  private keepState(): void {
    if (this.open === null || this.byteModelNow === null) return;
    const last = this.past[this.past.length - 1];
    if (last !== undefined && last.open.read >= this.open.read) return;
    this.past.push({ open: forkOf(this.open), byteModelNow: this.byteModelNow });
    if (this.past.length > KEPT_STATES) this.past.shift();
  }

  /** Writes the next byte of the text into the word, and asks the latent again where that is needed. */
  private async write(open: OpenedWord, row: Float64Array, signal?: AbortSignal): Promise<void> {
    writeInto(open, this.words.text, row);
    for (let piece = open.word.stale(); piece !== null; piece = open.word.stale())
      open.word.refresh(piece, await this.ask(open, piece.own, piece.pieces, signal));
  }

  /** The word with its own cut as readings: before it, and after each piece of it from which a longer piece could go on. */
  private async openAt(at: Place, signal?: AbortSignal): Promise<OpenedWord> {
    const { lexicon, table, rule } = this.parts;
    const { words } = this;
    const written = words.text.slice(at.start, at.opened);
    const cut = lexicon.cut(written);
    const count = cut.pieces.length;
    const endOf = (own: number) => (own === 0 ? 0 : own < count ? cut.starts[own] : written.length);
    // Weights count relative to each other only, so the cuts before the first that matters need not be asked after.
    let first = 0;
    while (first < count && !this.goesOn(written, endOf(first))) first++;
    const place = { ...at, read: at.opened, cut: cut.pieces };
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
    word: Pick<OpenedWord, "cut" | "settledWords">,
    own: number,
    pieces: readonly number[],
    signal?: AbortSignal,
  ): Promise<ArrayLike<number>> {
    return this.parts.latent.ask(this.pathAfter(word, own, pieces), signal);
  }

  /** The path of what is before a word, of the first `own` pieces of its cut, and of `pieces`. */
  private pathAfter(
    { cut, settledWords }: Pick<OpenedWord, "cut" | "settledWords">,
    own: number,
    pieces: readonly number[],
  ): Int32Array {
    const settled = this.settled.first(settledWords);
    const skipped = this.skipped(settled.length + cut.length);
    const front = settled.subarray(Math.min(skipped, settled.length));
    const back = [...cut.slice(Math.max(0, skipped - settled.length), own), ...pieces];
    return pathOf(this.parts.bosPiece, front, back);
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

/** An open word in a text: where it starts, where it was opened, and how many words are before it. */
interface Place {
  start: number;
  opened: number;
  settledWords: number;
}

function isAt(one: Place, other: Place): boolean {
  return one.start === other.start && one.opened === other.opened;
}

/** Lengths of the text, `from` to `to`, at which a word is the open one. */
interface Span {
  place: Place;
  from: number;
  to: number;
}

/** An open word, and how far its state has come. */
interface OpenedWord extends Place {
  /** Up to where it has been read, in the text. */
  read: number;
  /** Pieces of its bytes up to `opened`. */
  cut: readonly number[];
  word: OpenWord;
}

/** Writes the next byte of the text, of which `row` is the byte model's distribution. */
function writeInto(open: OpenedWord, text: Uint8Array, row: Float64Array): void {
  const byte = text[open.read];
  open.word.write(byte, row[byte]);
  open.read++;
}

function forkOf(open: OpenedWord): OpenedWord {
  return { ...open, word: open.word.fork() };
}

/** The open word when the text was as long as it has been read, and the byte model's distribution there. */
interface PastState {
  open: OpenedWord;
  byteModelNow: Float64Array;
}

interface ReadState extends PastState {
  distribution: Float64Array;
}

function largest(distribution: Float64Array): number {
  let most = 0;
  for (let symbol = 0; symbol < distribution.length; symbol++) most = Math.max(most, distribution[symbol]);
  return most;
}

/** Pieces of the words that no later byte can change. */
class SettledPieces {
  private buffer = new Int32Array(256);
  /** Number of pieces up to and with each word. */
  private ends: number[] = [];

  get pieces(): Int32Array {
    return this.first(this.ends.length);
  }

  /** Those of the first `words` words. */
  first(words: number): Int32Array {
    return this.buffer.subarray(0, words === 0 ? 0 : this.ends[words - 1]);
  }

  get byteLength(): number {
    return this.buffer.byteLength + 8 * this.ends.length;
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
