/**
 * A text read by the latent transformer and the lexicon: the distribution of its next byte, a function of the text alone
 * (docs/lexicon.md, sections 5 and 6). Bytes come and go at once; the state follows when a distribution is asked for.
 */
import type { DraftCosts } from "../generation/draft-record";
import type { GoOn } from "../model/text-state";
import type { ByteModel } from "./byte-model";
import { usualShares } from "./latent";
import { likelyEnds } from "./likely-ends";
import { OpenedWord, type WordParts } from "./opened-word";
import { isAt, PieceText, type Place, type TextParts } from "./piece-text";

/** What all readers of a model share. */
export type ReaderParts = TextParts & WordParts;

/** Lengths of the text at which the open word's state is kept, so that going back to them costs nothing. */
const KEPT_STATES = 64;
/** Chance from which on the rest of a piece is read by the byte model along with its first byte. */
const LIKELY_REST = 0.5;
const NOTHING = new Uint8Array(0);
/** Chance from which on a question that a draft may lead to is asked along with it: a row costs a tenth of a run. */
const LIKELY_SHARE = 0.5;

/** Bytes that a run of one position is good for, in code. */
const PIECE_BYTES = 3;
/** Positions that a draft makes be read for each of its pieces, and runs that follow the first. */
const POSITIONS = 1.4;
const SECOND_RUNS = 0.2;

export class LexiconReader {
  private pieceText: PieceText;
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
  ) {
    this.pieceText = new PieceText(parts);
  }

  /** Number of bytes. */
  get length(): number {
    return this.pieceText.length;
  }

  /** Bytes of memory held, without what the latent keeps. */
  get byteLength(): number {
    // Of a state: two sums and the byte model's distribution.
    return this.pieceText.byteLength + this.past.length * 2 * 8 * 257;
  }

  /** The text, as a view that holds until the next append. */
  get text(): Uint8Array {
    return this.pieceText.bytes;
  }

  /** The open word in the state of the last `distribution`, and where it starts; null before. */
  get openWord(): Pick<OpenedWord, "place" | "cut" | "word"> | null {
    return this.open;
  }

  /** Where the pieces of the text begin, as they would be cut if it ended here. */
  get pieceStarts(): number[] {
    return this.pieceText.pieceStarts;
  }

  /** What a draft costs. A run is worth the bytes of a piece, so a byte takes its share of a position and of the questions beside it. */
  get draftCosts(): DraftCosts {
    const { run, position } = this.parts.latent.costs ?? usualShares;
    return { byte: position * POSITIONS, run: (run + SECOND_RUNS) * PIECE_BYTES };
  }

  append(bytes: ArrayLike<number>): void {
    for (let i = 0; i < bytes.length; i++) this.pieceText.append(bytes[i]);
  }

  /** Forgets the bytes from `length` on. */
  truncate(length: number): void {
    if (length === this.length) return;
    this.pieceText.truncate(length);
    this.byteModel.truncate(length);
    this.past = this.past.filter(({ open }) => open.read <= length);
    if (this.open === null || this.open.read <= length) return;
    const last = this.past[this.past.length - 1];
    // A state at a shorter length may be of a word that is no longer the open one: `read` sees to that.
    [this.open, this.byteModelNow] = last === undefined ? [null, null] : [last.open.fork(), last.byteModelNow];
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
    const { path, lead } = this.likeliestPath(before);
    this.truncate(before);
    // Whether the pieces have ended here at all comes first.
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
    return lead === null || lead.bytes.length === 0 ? found : [lead, ...found];
  }

  /** The pieces that the text most likely consists of, the bytes that the last of them still has to come, and how likely it is that they do. */
  private likeliestPath(before: number): { path: Int32Array; lead: { bytes: Uint8Array; chance: number } | null } {
    const open = this.unread?.at === before ? this.unread.open : null;
    const cut = open?.word.likeliestCut() ?? null;
    if (open === null || cut === null) return { path: this.pieceText.wholePath().path, lead: null };
    const path = this.pieceText.pathAfter(open, cut.own, cut.pieces);
    const bytes = this.parts.lexicon.pieces[cut.pieces[cut.pieces.length - 1]]!;
    return { path, lead: { bytes: bytes.subarray(bytes.length - cut.missing), chance: cut.chance } };
  }

  /** An independent copy. Readers of one model share its latent, which is asked by whole paths. */
  fork(): LexiconReader {
    const copy = new LexiconReader(this.parts, this.byteModel.fork());
    copy.pieceText = this.pieceText.fork();
    copy.open = this.open?.fork() ?? null;
    copy.byteModelNow = this.byteModelNow;
    copy.version = this.version;
    return copy;
  }

  /** Brings the open word's state up to the end of the text. */
  private async read(signal?: AbortSignal): Promise<void> {
    const { pieceText } = this;
    this.followVersion();
    const place = pieceText.openPlace;
    const isOpen = this.open !== null && isAt(this.open.place, place);
    if (isOpen && this.open!.read === pieceText.length && this.byteModelNow !== null) return;
    this.keepState();
    const open = isOpen ? this.open! : await OpenedWord.open(this.parts, pieceText, place, signal);
    this.open = open;
    const rows = await this.byteModel.after(pieceText.bytes, open.read, pieceText.length, signal);
    for (const row of rows.slice(0, -1)) await open.write(pieceText, row, signal);
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

  /** Appends a byte if its distribution can be had without asking the latent; else null, and nothing has changed. */
  private async readWithoutLatent(byte: number, signal?: AbortSignal): Promise<Float64Array | null> {
    this.followVersion();
    const { pieceText, open } = this;
    const before = pieceText.length;
    this.unread = null;
    if (open === null || open.read !== before) return null;
    pieceText.append(byte);
    const next = await this.openWithoutLatent(open, pieceText.openPlace, signal);
    if (next !== null) {
      const ahead = () => this.likelyRest(next, byte);
      const rows = await this.byteModel.after(pieceText.bytes, next.read, pieceText.length, signal, ahead);
      while (next.read < pieceText.length && next.word.stale() === null) next.writeAlone(pieceText, rows.shift()!);
      if (next.read === pieceText.length && next.word.stale() === null) {
        this.keepState();
        [this.open, this.byteModelNow] = [next, rows[0]];
        return next.word.distribution(rows[0]);
      }
      if (next.read === pieceText.length) this.unread = { at: before, open: next };
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
    if (isAt(open.place, place)) return open.fork();
    if (place.opened !== place.start) return null;
    const isKnown = this.parts.latent.knows?.(this.pieceText.pathAfter({ place, cut: [] }, 0, []));
    return isKnown ? OpenedWord.open(this.parts, this.pieceText, place, signal) : null;
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
    const { pieceText } = this;
    const before = pieceText.length;
    this.followVersion();
    this.keepState();
    const spans: Span[] = [];
    for (let i = 0; i < bytes.length; i++) {
      pieceText.append(bytes[i]);
      const place = pieceText.openPlace;
      const last = spans[spans.length - 1];
      if (last !== undefined && isAt(last.place, place)) last.to = pieceText.length;
      else spans.push({ place, from: pieceText.length, to: pieceText.length });
    }
    if (spans.length === 0) return [];
    // A state from before the new bytes goes on; all other words are opened anew.
    const going = this.open !== null && isAt(this.open.place, spans[0].place) ? this.open.fork() : null;
    // A long word may have been opened anew behind where, as more comes, its last bytes turn out to be a word of their own.
    const firstRow = Math.min(...spans.map(({ place }, i) => (i === 0 && going !== null ? going.read : place.opened)));
    const rows = await this.byteModel.after(pieceText.bytes, firstRow, pieceText.length, signal);
    const { path, others } = this.expected(spans, (length) => rows[length - firstRow]);
    this.parts.latent.expect(path, others);
    /** Length of the text behind which nothing is wanted, as far as is known. */
    let end = pieceText.length;
    const states = await Promise.all(
      spans.map(async ({ place, from, to }, i) => {
        const open = i === 0 && going !== null ? going : await OpenedWord.open(this.parts, pieceText, place, signal);
        const read: ReadState[] = [];
        for (;;) {
          const row = rows[open.read - firstRow];
          if (open.read >= from) {
            const distribution = open.word.distribution(row);
            read.push({ open: open.read < to ? open.fork() : open, byteModelNow: row, distribution });
            const isWrong =
              open.read < pieceText.length && distribution[pieceText.bytes[open.read]] < least * largest(distribution);
            if (isWrong) end = Math.min(end, open.read);
          }
          if (open.read === to || open.read >= end) return read;
          await open.write(pieceText, row, signal);
        }
      }),
    );
    const all = states.flat().slice(0, end - before);
    if (end < pieceText.length) {
      pieceText.truncate(end);
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
    const { path, openPieces } = this.pieceText.wholePath();
    const others = spans.flatMap(({ place, to }, i) => {
      // What is asked inside a word that was open before depends on its readings.
      if (place.opened !== place.start || (i === 0 && this.open !== null && isAt(this.open.place, place))) return [];
      const word = this.pieceText.bytes.subarray(place.start, to);
      return likelyEnds(this.parts.table, word, (length) => byteModelAt(place.start + length), LIKELY_SHARE).map(
        ({ pieces }) => this.pieceText.pathAfter({ place, cut: [] }, 0, pieces),
      );
    });
    // What falls into several pieces is likely to be the beginning of a word, whose cut is another one.
    return { path: path.subarray(0, path.length - (openPieces === 1 ? 0 : openPieces)), others };
  }

  /** Keeps the state in use before it goes on. */
  private keepState(): void {
    if (this.open === null || this.byteModelNow === null) return;
    const last = this.past[this.past.length - 1];
    if (last !== undefined && last.open.read >= this.open.read) return;
    this.past.push({ open: this.open.fork(), byteModelNow: this.byteModelNow });
    if (this.past.length > KEPT_STATES) this.past.shift();
  }
}

/** Lengths of the text, `from` to `to`, at which a word is the open one. */
interface Span {
  place: Place;
  from: number;
  to: number;
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
