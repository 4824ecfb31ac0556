/**
 * Bytes, and where each context was seen: every place is linked to the latest earlier one whose last bytes have the same
 * hash. A hash only proposes a place; the bytes themselves are compared before anything is counted.
 *
 * A *place* is an address in the array of bytes: what stands there (a byte, or the end of a text) can be predicted from
 * the bytes before it. Address 0 is none. Bytes lie in *runs*, each of which begins with as many bytes as a context has.
 */

/** No context is compared further back than this, bytes. Every run begins with so many bytes that predict nothing. */
export const LONGEST_CONTEXT = 32;

/** The end of a text, where bytes are 0 to 255. */
export const END_SYMBOL = 256;

/** Addresses are numbers of 24 bits. */
export const MOST_ADDRESSES = 2 ** 24;

/** Symbols: 256 bytes and the end of a text. */
export const SYMBOLS = 257;

/** Places whose context is that of the byte to be predicted, as parallel lists. */
export class Candidates {
  count = 0;
  readonly addresses: Uint32Array;
  /** Bytes that the two contexts have in common, at most LONGEST_CONTEXT. */
  readonly lengths: Uint8Array;
  /** What stands at the place: a byte or END_SYMBOL. */
  readonly symbols: Uint16Array;

  constructor(capacity: number) {
    this.addresses = new Uint32Array(capacity);
    this.lengths = new Uint8Array(capacity);
    this.symbols = new Uint16Array(capacity);
  }

  /** Whether an address is among those from `from` to `to`. */
  has(address: number, from: number, to = this.count): boolean {
    for (let i = from; i < to; i++) if (this.addresses[i] === address) return true;
    return false;
  }
}

export interface ChainLimits {
  /** Bytes of context that a place must share to be found, 4 or 5. */
  order: 4 | 5;
  /** Places counted for one context, the latest first. */
  mostPlaces: number;
  /** Whether the latest place is found directly by its last 12 and its last 20 bytes, however many share the last ones. */
  hasLong: boolean;
}

export class ByteChains {
  /**
   * What an address holds: its byte, lowest, and in 24 bits above it the latest earlier place in the same chain. One word, since a
   * chain that is followed leaves the processor's caches with every step.
   */
  private readonly cells: Uint32Array;
  /** The latest place of each chain. */
  private readonly heads: Uint32Array;
  /** The latest place of each context of 12 and of 20 bytes; no tables where they are not wanted. */
  private readonly long: Uint32Array[];
  /** One bit an address: the place predicts nothing any more; it is the end of a text. */
  private readonly dead: Uint32Array;
  private readonly ends: Uint32Array;
  /** The bytes before the one to be predicted, the nearest first. */
  private readonly context = new Uint8Array(LONGEST_CONTEXT);
  /** First free address. */
  end = 1;

  /** Room for `capacity` addresses, and slots for chains and for each length of long context. */
  constructor(
    readonly capacity: number,
    slots: { chains: number; long: number },
    private readonly limits: ChainLimits,
  ) {
    if (capacity > MOST_ADDRESSES)
      throw new RangeError(`no room for ${capacity} addresses, only for ${MOST_ADDRESSES}`);
    this.cells = new Uint32Array(capacity);
    this.heads = new Uint32Array(Math.max(16, slots.chains));
    this.long = limits.hasLong ? [0, 1].map(() => new Uint32Array(Math.max(16, slots.long))) : [];
    const words = (capacity >>> 5) + 1;
    this.dead = new Uint32Array(words);
    this.ends = new Uint32Array(words);
  }

  get memoryBytes(): number {
    const { cells, heads, long, dead, ends } = this;
    return [cells, heads, ...long, dead, ends].reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  /** Begins a run with the last bytes of its context (fewer are filled up with zeros in front, as at a text's beginning). */
  beginRun(lead: Uint8Array): void {
    this.cells.fill(0, this.end, this.end + LONGEST_CONTEXT - lead.length);
    this.cells.set(lead, this.end + LONGEST_CONTEXT - lead.length);
    this.end += LONGEST_CONTEXT;
  }

  /** Adds places for bytes and, with `hasEnd`, for the end of a text; returns the address of the first. */
  push(body: ArrayLike<number>, hasEnd: boolean): number {
    const { cells, heads, long, limits } = this;
    const first = this.end;
    const count = body.length + (hasEnd ? 1 : 0);
    const [chainScale, longScale] = [heads.length / 2 ** 32, (long[0]?.length ?? 0) / 2 ** 32];
    const [twelve, twenty] = long;
    const mask = limits.order === 5 ? 0xff : 0;
    // The words before the place, the nearest first: read once, then moved on by a byte at a time.
    let [a, b, c, d, e] = [0, 1, 2, 3, 4].map((word) =>
      first > 4 * word + 4 ? wordBefore(cells, first - 4 * word) : 0,
    );
    for (let i = 0, place = first; i < count; i++, place++) {
      const chain = (hashOf(a, b & mask) * chainScale) | 0;
      const byte = i === body.length ? 0 : body[i];
      cells[place] = (heads[chain] << 8) | byte;
      heads[chain] = place;
      if (twelve !== undefined) {
        twelve[(longHash(a, b, c, 0, 0) * longScale) | 0] = place;
        twenty[(longHash(a, b, c, d, e) * longScale) | 0] = place;
      }
      e = (e << 8) | (d >>> 24);
      d = (d << 8) | (c >>> 24);
      c = (c << 8) | (b >>> 24);
      b = (b << 8) | (a >>> 24);
      a = (a << 8) | byte;
    }
    this.end = first + count;
    if (hasEnd) this.ends[(this.end - 1) >>> 5] |= 1 << ((this.end - 1) & 31);
    return first;
  }

  /** Takes back everything from `end` on, the last place first; not for chains with long contexts. */
  truncate(end: number): void {
    for (let place = this.end - 1; place >= end; place--) {
      const chain = this.chainOf(wordBefore(this.cells, place), wordBefore(this.cells, place - 4));
      if (this.heads[chain] === place) this.heads[chain] = this.cells[place] >>> 8;
      const keep = ~(1 << (place & 31));
      this.dead[place >>> 5] &= keep;
      this.ends[place >>> 5] &= keep;
    }
    this.end = end;
  }

  /** Puts the bytes of so many addresses from `address` on into `into`, from `at` on. */
  copy(address: number, length: number, into: Uint8Array, at: number): void {
    const { cells } = this;
    for (let i = 0; i < length; i++) into[at + i] = cells[address + i];
  }

  /** Places [from, to) predict nothing any more. */
  kill(from: number, to: number): void {
    for (const { word, mask } of masksOf(from, to)) this.dead[word] |= mask;
  }

  /** Places [from, to) predict again. */
  revive(from: number, to: number): void {
    for (const { word, mask } of masksOf(from, to)) this.dead[word] &= ~mask;
  }

  /** Bytes that the context of `place` has in common with `context`; 0 when too few, or for a dead place. */
  private commonLength(place: number): number {
    const { cells, context } = this;
    // Every run begins with as many bytes as are compared, so that none is left.
    let length = 0;
    while (length < LONGEST_CONTEXT && (cells[place - 1 - length] & 0xff) === context[length]) length++;
    const isDead = ((this.dead[place >>> 5] >>> (place & 31)) & 1) === 1;
    return length < this.limits.order || isDead ? 0 : length;
  }

  /**
   * Adds the latest place of each long context, the longest first, and then the latest places whose last `order` bytes are
   * those before `end` of `text`, to `mostPlaces`; twice as many are looked at, since other contexts may share the chain.
   */
  collect(text: Uint8Array, end: number, into: Candidates): void {
    const { order, mostPlaces } = this.limits;
    const { cells, context } = this;
    for (let i = 0; i < LONGEST_CONTEXT; i++) context[i] = text[end - 1 - i];
    const from = into.count;
    const a = wordBefore(text, end);
    const b = wordBefore(text, end - 4);
    const c = wordBefore(text, end - 8);
    for (let i = this.long.length - 1; i >= 0; i--) {
      const table = this.long[i];
      const d = i === 1 ? wordBefore(text, end - 12) : 0;
      const e = i === 1 ? wordBefore(text, end - 16) : 0;
      const place = table[(longHash(a, b, c, d, e) * (table.length / 2 ** 32)) | 0];
      if (place === 0 || into.has(place, from)) continue;
      const length = this.commonLength(place);
      if (length >= order) this.add(place, length, into);
    }
    const known = into.count;
    const last = known + mostPlaces;
    let place = this.heads[this.chainOf(a, b)];
    for (let visits = 2 * mostPlaces; place !== 0 && visits > 0 && into.count < last; visits--) {
      const length = this.commonLength(place);
      if (length >= order && !into.has(place, from, known)) this.add(place, length, into);
      place = cells[place] >>> 8;
    }
  }

  private add(place: number, length: number, into: Candidates): void {
    const byte = this.cells[place] & 0xff;
    const isEnd = byte === 0 && ((this.ends[place >>> 5] >>> (place & 31)) & 1) === 1;
    into.addresses[into.count] = place;
    into.lengths[into.count] = length;
    into.symbols[into.count++] = isEnd ? END_SYMBOL : byte;
  }

  private chainOf(a: number, b: number): number {
    return (hashOf(a, this.limits.order === 5 ? b & 0xff : 0) * (this.heads.length / 2 ** 32)) | 0;
  }
}

/** Bits [from, to) in words of 32. */
function* masksOf(from: number, to: number): Generator<{ word: number; mask: number }> {
  for (let at = from; at < to; ) {
    const word = at >>> 5;
    const end = Math.min(to, (word + 1) * 32);
    const size = end - at;
    yield { word, mask: (size === 32 ? -1 : (1 << size) - 1) << (at & 31) };
    at = end;
  }
}

/** The four bytes before `end`, the last one lowest. */
function wordBefore(bytes: Uint8Array | Uint32Array, end: number): number {
  return (
    (bytes[end - 4] << 24) | ((bytes[end - 3] & 0xff) << 16) | ((bytes[end - 2] & 0xff) << 8) | (bytes[end - 1] & 0xff)
  );
}

/** 32-bit hash of two words. */
function hashOf(a: number, b: number): number {
  let hash = (Math.imul(a, 0x9e3779b1) + Math.imul(b, 0x85ebca6b)) | 0;
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0x2c1b3c6d);
  return (hash ^ (hash >>> 13)) >>> 0;
}

function longHash(a: number, b: number, c: number, d: number, e: number): number {
  const low = Math.imul(a, 0x9e3779b1) ^ Math.imul(b, 0xc2b2ae35) ^ Math.imul(c, 0x27d4eb2f);
  return hashOf(low, Math.imul(d, 0x165667b1) ^ Math.imul(e, 0x7feb352d));
}
