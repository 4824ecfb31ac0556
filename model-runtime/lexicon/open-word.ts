/**
 * The open word read in bytes: all cuts of its first bytes that matter side by side, one normalised distribution of the
 * next byte (docs/lexicon.md, section 5). It is told what the latent transformer and the byte model say, and asks nobody.
 *
 * Shapes: S sorted pieces. Positions are offsets in the word.
 */
import type { PieceRange, SortedPieces } from "./sorted-pieces";

/** Bytes and EOS: symbol b is byte b. */
export const SYMBOLS = 257;
export const EOS_SYMBOL = 256;

/** `lexicon_config`'s numbers. */
export interface LexiconRule {
  /** The latent steps when one ended piece holds more than this share of the mass. */
  refreshThreshold: number;
  /** The byte model's own share of each word. */
  fallbackShare: number;
  /** A word is opened anew every so many bytes. */
  wordLimit: number;
}

/** A cut of the word's first bytes, and what the latent says comes next. */
export interface Reading {
  /** Pieces since the word's start: the first `own` ones of the word's own cut, then these. */
  own: number;
  pieces: readonly number[];
  /** Where they end. */
  end: number;
  /** Their probability. */
  weight: number;
  /** [S + 1]: of the next piece, EOS last. */
  mass: ArrayLike<number>;
  /** Pieces that begin with what has been written since `end`. */
  range: PieceRange;
}

/** A piece that fits the written bytes exactly and after which the latent has not been asked: the byte model writes on. */
export interface EndedPiece {
  own: number;
  pieces: readonly number[];
  end: number;
  weight: number;
  /** Weight times the byte model's probabilities of the bytes since `end`. */
  mass: number;
}

/** What the word's bytes most likely are: pieces that end here, or pieces and one that is still being written. */
export interface LikeliestCut {
  own: number;
  pieces: readonly number[];
  /** Bytes that the last piece still has to come. */
  missing: number;
  /** Share of all mass. */
  chance: number;
}

/** A reading the word is opened with. */
export type FirstReading = Pick<Reading, "own" | "end" | "weight" | "mass">;

export class OpenWord {
  readonly readings: Reading[] = [];
  readonly ended: EndedPiece[] = [];
  /** Mass of each next byte by pieces that are still being written, and of EOS. */
  private readonly next = new Float64Array(256);
  private eos = 0;
  private ownShare = 0;
  /** Bytes of the word from offset `recentFrom` on, as far back as a piece can reach. */
  private readonly recent: number[] = [];
  private recentFrom = 0;
  private length = 0;
  /** The byte model's probability of each byte written since the word was opened. */
  private readonly probabilities: number[] = [];

  private constructor(
    private readonly table: SortedPieces,
    private readonly rule: LexiconRule,
  ) {}

  /** A word of which `written` is there. */
  static open(
    table: SortedPieces,
    rule: LexiconRule,
    readings: readonly FirstReading[],
    written: Uint8Array,
  ): OpenWord {
    const word = new OpenWord(table, rule);
    word.length = written.length;
    word.recentFrom = Math.max(0, written.length - table.longest);
    for (let at = word.recentFrom; at < written.length; at++) word.recent.push(written[at]);
    for (const reading of readings) {
      let range = table.all();
      for (let at = reading.end; at < word.length; at++) range = table.narrow(range, word.byteAt(at));
      word.readings.push({ ...reading, pieces: [], range });
    }
    word.sum();
    word.ownShare = rule.fallbackShare * (sumOf(word.next) + word.eos);
    return word;
  }

  /** Appends a byte, to which the byte model gives `probability`. */
  write(byte: number, probability: number): void {
    this.recent.push(byte);
    this.probabilities.push(probability);
    this.length++;
    this.ownShare *= probability;
    for (const piece of this.ended) piece.mass *= probability;
    for (const reading of this.readings) {
      reading.range = this.table.narrow(reading.range, byte);
      this.end(reading, this.length, 1);
    }
    this.sum();
  }

  /** The heaviest ended piece if it holds more than the threshold of all mass: the latent should be asked after it. */
  stale(): EndedPiece | null {
    let heaviest: EndedPiece | null = null;
    for (const piece of this.ended) if (heaviest === null || piece.mass > heaviest.mass) heaviest = piece;
    return heaviest !== null && heaviest.mass > this.rule.refreshThreshold * this.total() ? heaviest : null;
  }

  /** The likeliest of all single cuts; null when no piece fits. */
  likeliestCut(): LikeliestCut | null {
    let best: LikeliestCut | null = null;
    for (const { own, pieces, mass } of this.ended)
      if (mass > (best?.chance ?? 0)) best = { own, pieces, missing: 0, chance: mass };
    for (const { own, pieces, end, weight, mass, range } of this.readings) {
      const place = this.table.heaviest(range, mass);
      if (place < 0 || weight * mass[place] <= (best?.chance ?? 0)) continue;
      const missing = this.table.lengthAt(place) - (this.length - end);
      best = { own, pieces: [...pieces, this.table.order[place]], missing, chance: weight * mass[place] };
    }
    return best && { ...best, chance: best.chance / this.total() };
  }

  /**
   * Reads on after an ended piece.
   * @param mass [S + 1], what the latent says after its pieces; it is kept
   */
  refresh(piece: EndedPiece, mass: ArrayLike<number>): void {
    this.ended.splice(this.ended.indexOf(piece), 1);
    const { own, pieces, end, weight } = piece;
    const reading: Reading = { own, pieces, end, weight, mass, range: this.table.all() };
    this.readings.push(reading);
    const opened = this.length - this.probabilities.length;
    for (let at = end; at < this.length; at++) {
      reading.range = this.table.narrow(reading.range, this.byteAt(at));
      const since = this.probabilities.slice(at + 1 - opened).reduce((product, each) => product * each, 1);
      this.end(reading, at + 1, since);
    }
    this.add(reading);
  }

  /**
   * The distribution of the next symbol: the byte model's where no piece begins with the word's bytes.
   * @param byteModel [257] the byte model's
   * @param into [257]
   */
  distribution(byteModel: ArrayLike<number>, into: Float64Array = new Float64Array(SYMBOLS)): Float64Array {
    const fallen = this.fallen();
    const total = this.total();
    if (total === 0) {
      into.set(byteModel);
      return into;
    }
    for (let byte = 0; byte < EOS_SYMBOL; byte++) into[byte] = (this.next[byte] + fallen * byteModel[byte]) / total;
    into[EOS_SYMBOL] = (this.eos + fallen * byteModel[EOS_SYMBOL]) / total;
    return into;
  }

  /** Share of the distribution that is the byte model's. */
  fallbackPart(): number {
    const total = this.total();
    return total === 0 ? 1 : this.fallen() / total;
  }

  fork(): OpenWord {
    const copy = new OpenWord(this.table, this.rule);
    for (const reading of this.readings) copy.readings.push({ ...reading });
    for (const piece of this.ended) copy.ended.push({ ...piece });
    copy.next.set(this.next);
    copy.recent.push(...this.recent);
    copy.probabilities.push(...this.probabilities);
    for (const field of ["eos", "ownShare", "recentFrom", "length"] as const) copy[field] = this[field];
    return copy;
  }

  /** A piece of the reading that ends here, the byte model having given `since` to the bytes written after it. */
  private end(reading: Reading, end: number, since: number): void {
    const place = this.table.equal(reading.range);
    if (place < 0) return;
    const weight = reading.weight * reading.mass[place];
    const pieces = [...reading.pieces, this.table.order[place]];
    this.ended.push({ own: reading.own, pieces, end, weight, mass: weight * since });
  }

  private sum(): void {
    this.next.fill(0);
    this.eos = 0;
    for (const reading of this.readings) this.add(reading);
  }

  private add({ range, mass, weight }: Reading): void {
    this.table.addNextBytes(range, mass, weight, this.next);
    if (range.depth === 0) this.eos += weight * mass[mass.length - 1];
  }

  private fallen(): number {
    return this.ended.reduce((sum, { mass }) => sum + mass, this.ownShare);
  }

  private total(): number {
    return sumOf(this.next) + this.eos + this.fallen();
  }

  private byteAt(offset: number): number {
    return this.recent[offset - this.recentFrom];
  }
}

function sumOf(values: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i];
  return sum;
}
