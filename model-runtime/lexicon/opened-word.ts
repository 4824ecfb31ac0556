/**
 * The open word at its place in a text: opened with what the latent says before and inside it, written byte by byte, and the latent
 * asked again where that is needed (docs/lexicon.md, section 5).
 */
import type { PieceLatent } from "./latent";
import { type FirstReading, type LexiconRule, OpenWord } from "./open-word";
import type { CutWord, PieceText, Place } from "./piece-text";
import type { Lexicon } from "./pieces";
import type { SortedPieces } from "./sorted-pieces";

/** What all words of a model share. */
export interface WordParts {
  lexicon: Lexicon;
  table: SortedPieces;
  rule: LexiconRule;
  latent: PieceLatent;
}

export class OpenedWord implements CutWord {
  private constructor(
    private readonly latent: PieceLatent,
    readonly place: Place,
    readonly cut: readonly number[],
    readonly word: OpenWord,
    private readTo: number,
  ) {}

  /** The word with its own cut as readings: before it, and after each piece of it from which a longer piece could go on. */
  static async open(parts: WordParts, text: PieceText, place: Place, signal?: AbortSignal): Promise<OpenedWord> {
    const { lexicon, table, rule, latent } = parts;
    const written = text.bytes.slice(place.start, place.opened);
    const cut = lexicon.cut(written);
    const count = cut.pieces.length;
    const endOf = (own: number) => (own === 0 ? 0 : own < count ? cut.starts[own] : written.length);
    // Weights count relative to each other only, so the cuts before the first that matters need not be asked after.
    let first = 0;
    while (first < count && !goesOn(table, written, endOf(first))) first++;
    // The longest path first: the others are then cached.
    const masses: ArrayLike<number>[] = [];
    for (let own = count; own >= first; own--)
      masses[own] = await latent.ask(text.pathAfter({ place, cut: cut.pieces }, own, []), signal);
    const readings: FirstReading[] = [];
    for (let own = first, weight = 1; own <= count; own++) {
      if (own > first) weight *= masses[own - 1][table.place[cut.pieces[own - 1]]];
      readings.push({ own, end: endOf(own), weight, mass: masses[own] });
    }
    return new OpenedWord(latent, place, cut.pieces, OpenWord.open(table, rule, readings, written), place.opened);
  }

  /** Up to where it has been read, in the text. */
  get read(): number {
    return this.readTo;
  }

  /** Writes the next byte of the text, of which `row` is the byte model's distribution; asks nobody. */
  writeAlone(text: PieceText, row: Float64Array): void {
    const byte = text.bytes[this.readTo];
    this.word.write(byte, row[byte]);
    this.readTo++;
  }

  /** Writes the next byte of the text, and asks the latent again where that is needed. */
  async write(text: PieceText, row: Float64Array, signal?: AbortSignal): Promise<void> {
    this.writeAlone(text, row);
    for (let piece = this.word.stale(); piece !== null; piece = this.word.stale())
      this.word.refresh(piece, await this.latent.ask(text.pathAfter(this, piece.own, piece.pieces), signal));
  }

  /** An independent copy, also for a copy of the text. */
  fork(): OpenedWord {
    return new OpenedWord(this.latent, this.place, this.cut, this.word.fork(), this.readTo);
  }
}

/** Whether a piece begins with all the written bytes from `from` on and is longer. */
function goesOn(table: SortedPieces, written: Uint8Array, from: number): boolean {
  if (written.length - from >= table.longest) return false;
  let range = table.all();
  for (let at = from; at < written.length; at++) range = table.narrow(range, written[at]);
  return table.goesOn(range);
}
