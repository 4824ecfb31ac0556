/**
 * The contexts whose successors are counted: the last 1..8 bytes, the identifier being written, and that identifier with
 * the one before it. Each is a function of the last CONTEXT_WINDOW bytes alone, so an edit changes only the counts of the
 * bytes it touches and of the CONTEXT_WINDOW bytes behind it.
 */

/** Contexts kept in the hash table; order 1 is kept apart in a dense table (order1.ts). */
export const CONTEXT_NAMES = ["order 2", "order 3", "order 4", "order 5", "order 6", "order 8", "word", "word pair"] as const;
export const CONTEXTS = CONTEXT_NAMES.length;

/** Lengths of the contexts under which positions are found, shortest first (positions.ts). */
export const MATCH_LENGTHS = [5, 12, 24] as const;

const WORD = 24;
const GAP = 32;

/** No context looks further back than this: a whole identifier, the gap before it and the identifier before that, in bytes. */
export const CONTEXT_WINDOW = WORD + GAP + WORD;

/** Bytes that continue an identifier: letters, digits, underscore and everything beyond ASCII. */
const WORD_BYTES = Uint8Array.from({ length: 256 }, (_, byte) =>
  (byte >= 48 && byte <= 57) || (byte >= 65 && byte <= 90) || (byte >= 97 && byte <= 122) || byte === 95 || byte >= 128 ? 1 : 0,
);

const ROLL = 0x2f0b4c47;
const ROLL_OUT = power(ROLL, WORD);
const RING = 31;

/** What has just been read, a byte at a time, and the hashes that name it. */
export class ContextState {
  /** 32-bit hash of each context, in the order of CONTEXT_NAMES. */
  readonly hashes = new Int32Array(CONTEXTS);
  /** Bytes read since the start of the text, for the contexts that need a certain number. */
  length = 0;
  private readonly ring = new Uint8Array(RING + 1);
  private last4 = 0;
  private last8 = 0;
  private last12 = 0;
  /** Rolling hash of the last 24 bytes. */
  private roll = 0;
  private word = 0;
  private run = 0;
  private gap = 0;
  private before = 0;
  private previousWord = 0;

  reset(): void {
    this.length = this.last4 = this.last8 = this.last12 = this.roll = 0;
    this.word = this.run = this.gap = this.before = this.previousWord = 0;
    this.ring.fill(0);
  }

  copy(from: ContextState): void {
    this.length = from.length;
    this.last4 = from.last4;
    this.last8 = from.last8;
    this.last12 = from.last12;
    this.roll = from.roll;
    this.word = from.word;
    this.run = from.run;
    this.gap = from.gap;
    this.before = from.before;
    this.previousWord = from.previousWord;
    this.ring.set(from.ring);
  }

  get lastByte(): number {
    return this.last4 & 0xff;
  }

  push(byte: number): void {
    const out = this.ring[(this.length - WORD) & RING];
    this.ring[this.length & RING] = byte;
    this.length++;
    this.last12 = (this.last12 << 8) | (this.last8 >>> 24);
    this.last8 = (this.last8 << 8) | (this.last4 >>> 24);
    this.last4 = (this.last4 << 8) | byte;
    const leaving = Math.imul(out + 1, ROLL_OUT);
    this.roll = (Math.imul(this.roll, ROLL) + byte + 1 - (this.length > WORD ? leaving : 0)) | 0;
    if (WORD_BYTES[byte] === 1) {
      this.word = (Math.imul(this.word, ROLL) + byte + 1 - (this.run >= WORD ? leaving : 0)) | 0;
      if (this.run < WORD) this.run++;
      else this.previousWord = this.before = 0;
      this.gap = 0;
      return;
    }
    if (this.run > 0) {
      this.previousWord = this.word;
      this.word = this.run = 0;
    }
    this.before = byte;
    if (this.gap < GAP) this.gap++;
    else this.previousWord = 0;
  }

  /** Fills `hashes` for the byte that comes next. */
  hash(): void {
    const { hashes, last4, last8 } = this;
    hashes[0] = scramble(last4 & 0xffff, 0, 2);
    hashes[1] = scramble(last4 & 0xffffff, 0, 3);
    hashes[2] = scramble(last4, 0, 4);
    hashes[3] = scramble(last4, last8 & 0xff, 5);
    hashes[4] = scramble(last4, last8 & 0xffff, 6);
    hashes[5] = scramble(last4, last8, 8);
    hashes[6] = scramble(this.word, this.before, 20);
    hashes[7] = scramble(this.word, Math.imul(this.previousWord, 0x3c6ef372) + this.before, 21);
  }

  /** Hash of the last MATCH_LENGTHS[which] bytes; meaningful once that many have been read. */
  matchHash(which: number): number {
    if (which === 0) return scramble(this.last4, this.last8 & 0xff, 105);
    if (which === 1) return scramble(this.last4, Math.imul(this.last8, 0x3c6ef372) + this.last12, 112);
    return scramble(this.roll, 0, 124);
  }

  /** The byte `back` bytes ago (0: the last one); at most 31. */
  byteBack(back: number): number {
    return this.ring[(this.length - 1 - back) & RING];
  }
}

function scramble(a: number, b: number, salt: number): number {
  let hash = (Math.imul(a, 0x9e3779b1) + Math.imul(b, 0x85ebca6b) + Math.imul(salt, 0x7f4a7c15)) | 0;
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0x2c1b3c6d);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, 0x297a2d39);
  return hash ^ (hash >>> 16);
}

function power(base: number, exponent: number): number {
  let result = 1;
  for (let i = 0; i < exponent; i++) result = Math.imul(result, base);
  return result;
}
