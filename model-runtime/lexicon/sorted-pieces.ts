/**
 * The pieces sorted as byte strings: those with a common prefix are neighbours, the prefix itself first, so that every
 * prefix is a range (docs/lexicon.md, section 4). Shapes: V pieces, S sorted pieces (those with bytes).
 */

/** Pieces `low` to `high` in sorted order: those that begin with some `depth` bytes. Empty when low = high. */
export interface PieceRange {
  low: number;
  high: number;
  depth: number;
}

export class SortedPieces {
  /** [S]: the piece at each place. */
  readonly order: Int32Array;
  /** [V]: the place of each piece; -1 without bytes. */
  readonly place: Int32Array;
  /** Length of the longest piece. */
  readonly longest: number;
  /** Bytes of all pieces in sorted order, and where each begins: [S + 1]. */
  private readonly bytes: Uint8Array;
  private readonly offsets: Int32Array;
  /** [257]: places before those that begin with each byte. */
  private readonly beginnings = new Int32Array(257);
  /** By first byte [257]: places before those that go on with each byte; made for those that many pieces begin with. */
  private readonly seconds: (Int32Array | null)[];
  /** By masses, and by the borders of a range. */
  private readonly summaries = new WeakMap<object, Map<Int32Array, Summary>>();

  constructor(pieces: readonly (Uint8Array | null)[]) {
    this.order = sortedOrder(pieces);
    this.place = new Int32Array(pieces.length).fill(-1);
    this.offsets = new Int32Array(this.order.length + 1);
    this.order.forEach((piece, place) => {
      this.place[piece] = place;
      this.offsets[place + 1] = this.offsets[place] + pieces[piece]!.length;
    });
    this.bytes = new Uint8Array(this.offsets[this.order.length]);
    this.order.forEach((piece, place) => {
      this.bytes.set(pieces[piece]!, this.offsets[place]);
    });
    for (let place = 0; place < this.order.length; place++) this.beginnings[this.bytes[this.offsets[place]] + 1]++;
    for (let byte = 0; byte < 256; byte++) this.beginnings[byte + 1] += this.beginnings[byte];
    this.seconds = Array.from({ length: 256 }, (_, byte) => this.secondsOf(byte));
    this.longest = this.order.reduce((longest, piece) => Math.max(longest, pieces[piece]!.length), 0);
  }

  /** All pieces: those that begin with no bytes. */
  all(): PieceRange {
    return { low: 0, high: this.order.length, depth: 0 };
  }

  /** Of the pieces of a range those that go on with `byte`. */
  narrow(range: PieceRange, byte: number): PieceRange {
    const { depth, high } = range;
    const first = this.firstLonger(range);
    const low = this.lowerBound(first, high, depth, byte);
    return { low, high: this.lowerBound(low, high, depth, byte + 1), depth: depth + 1 };
  }

  /** Place of the piece that is the common beginning itself; -1 if it is none. */
  equal({ low, high, depth }: PieceRange): number {
    return low < high && depth > 0 && this.lengthAt(low) === depth ? low : -1;
  }

  /** Whether a piece of the range goes on beyond the common beginning. */
  goesOn(range: PieceRange): boolean {
    return this.firstLonger(range) < range.high;
  }

  /**
   * Adds the mass of the pieces that go on, times `weight`, at their next bytes.
   * @param mass [S] or more, which stay as they are
   * @param into [256] or more
   */
  addNextBytes(range: PieceRange, mass: ArrayLike<number>, weight: number, into: Float64Array): void {
    const { bytes, offsets } = this;
    const { high, depth } = range;
    const borders = this.bordersOf(range);
    if (borders !== null) {
      const { sums } = this.summaryOf(mass, borders);
      for (let byte = 0; byte < 256; byte++) into[byte] += weight * sums[byte];
      return;
    }
    for (let place = this.firstLonger(range); place < high; place++)
      into[bytes[offsets[place] + depth]] += weight * mass[place];
  }

  /** The bytes with which pieces of the range go on, ascending. */
  *nextBytes(range: PieceRange): Generator<number> {
    const { high, depth } = range;
    for (let place = this.firstLonger(range); place < high; ) {
      const byte = this.bytes[this.offsets[place] + depth];
      yield byte;
      place = this.lowerBound(place, high, depth, byte + 1);
    }
  }

  /** Place of the heaviest piece that goes on; -1 if none does. */
  heaviest(range: PieceRange, mass: ArrayLike<number>): number {
    const borders = this.bordersOf(range);
    if (borders === null) return heaviestOf(mass, this.firstLonger(range), range.high);
    const summary = this.summaryOf(mass, borders);
    summary.heaviest ??= heaviestBySums(mass, borders, summary.sums);
    return summary.heaviest;
  }

  /** What is asked of a long range again and again while a reading of these masses lives. */
  private summaryOf(mass: ArrayLike<number>, borders: Int32Array): Summary {
    let ofMass = this.summaries.get(mass);
    if (ofMass === undefined) {
      ofMass = new Map();
      this.summaries.set(mass, ofMass);
    }
    let summary = ofMass.get(borders);
    if (summary === undefined) {
      const sums = new Float64Array(256);
      for (let byte = 0; byte < 256; byte++) sums[byte] = sumOf(mass, borders[byte], borders[byte + 1]);
      summary = { sums, heaviest: null };
      ofMass.set(borders, summary);
    }
    return summary;
  }

  /** [257]: places before those of a range that go on with each byte, where it is long enough to have been divided beforehand. */
  private bordersOf({ low, high, depth }: PieceRange): Int32Array | null {
    if (depth === 0) return high - low === this.order.length ? this.beginnings : null;
    if (depth > 1 || low === high) return null;
    return this.seconds[this.bytes[this.offsets[low]]];
  }

  private secondsOf(byte: number): Int32Array | null {
    const range = { low: this.beginnings[byte], high: this.beginnings[byte + 1], depth: 1 };
    if (range.high - range.low < DIVIDED_PIECES) return null;
    const borders = new Int32Array(257);
    borders[0] = this.firstLonger(range);
    for (let next = 0; next < 256; next++) borders[next + 1] = this.lowerBound(borders[next], range.high, 1, next + 1);
    return borders;
  }

  private firstLonger(range: PieceRange): number {
    return this.equal(range) < 0 ? range.low : range.low + 1;
  }

  /** Bytes of the piece at a place. */
  lengthAt(place: number): number {
    return this.offsets[place + 1] - this.offsets[place];
  }

  /** First place of `low` to `high` whose byte number `depth` is at least `byte`; all of them are longer than `depth`. */
  private lowerBound(low: number, high: number, depth: number, byte: number): number {
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.bytes[this.offsets[middle] + depth] < byte) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** So many pieces with the same first byte are summed by stretches instead of one by one. */
const DIVIDED_PIECES = 512;

/** Of a range's masses: the sum of those that go on with each byte [256], and the place of the heaviest once it has been asked for. */
interface Summary {
  sums: Float64Array;
  heaviest: number | null;
}

/** Place of the largest value from `from` up to `to`, the first of them; -1 where there is none. */
function heaviestOf(values: ArrayLike<number>, from: number, to: number): number {
  let best = -1;
  for (let place = from; place < to; place++) if (best < 0 || values[place] > values[best]) best = place;
  return best;
}

/** The same of 256 stretches of which the sums are known: no value of one is larger than its sum. */
function heaviestBySums(values: ArrayLike<number>, borders: Int32Array, sums: Float64Array): number {
  const heaviestAt = (byte: number) => heaviestOf(values, borders[byte], borders[byte + 1]);
  const least = values[heaviestAt(heaviestOf(sums, 0, 256))];
  let best = -1;
  for (let byte = 0; byte < 256; byte++) {
    // Sums are rounded, and where there is no number all are looked at.
    if (sums[byte] * (1 + 1e-9) < least) continue;
    const place = heaviestAt(byte);
    if (place >= 0 && (best < 0 || values[place] > values[best])) best = place;
  }
  return best;
}

/**
 * Sum of `values` from place `from` up to `to`: four sums side by side, since each addition waits for the one before it, and declared one by
 * one, since an engine keeps what is declared together as objects.
 */
function sumOf(values: ArrayLike<number>, from: number, to: number): number {
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  let at = from;
  for (; at + 4 <= to; at += 4) {
    a += values[at];
    b += values[at + 1];
    c += values[at + 2];
    d += values[at + 3];
  }
  for (; at < to; at++) a += values[at];
  return a + b + (c + d);
}

/** Bytes at a piece's beginning that make the number by which it is sorted first. */
const KEY_BYTES = 6;

/**
 * The pieces that have bytes, by their bytes. Sorting numbers takes half the time of sorting strings, while a model is waited
 * for; pieces with the same beginning are few and compared whole.
 */
function sortedOrder(pieces: readonly (Uint8Array | null)[]): Int32Array {
  const ofKey = new Map<number, number[]>();
  const keys = new Float64Array(pieces.length);
  let count = 0;
  for (let piece = 0; piece < pieces.length; piece++) {
    const bytes = pieces[piece];
    if (bytes === null) continue;
    // A piece that ends counts as less than any byte.
    let key = 0;
    for (let at = 0; at < KEY_BYTES; at++) key = key * 257 + (at < bytes.length ? bytes[at] + 1 : 0);
    keys[count++] = key;
    const same = ofKey.get(key);
    if (same === undefined) ofKey.set(key, [piece]);
    else same.push(piece);
  }
  const order = new Int32Array(count);
  const sorted = keys.subarray(0, count).sort();
  for (let place = 0; place < count; ) {
    const same = ofKey.get(sorted[place])!;
    if (same.length > 1) same.sort((a, b) => compareBytes(pieces[a]!, pieces[b]!));
    order.set(same, place);
    place += same.length;
  }
  return order;
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let at = 0; at < length; at++) if (a[at] !== b[at]) return a[at] - b[at];
  return a.length - b.length;
}
