/**
 * Byte and hash n-gram embeddings, summed on the host (blt-spec section 5.1): a table of billions of rows stays in
 * its file, of which six rows a byte are read.
 *
 * Shapes: N positions, E width, V rows of one table.
 */
import type { HashConfig } from "../checkpoint/config";
import { VOCABULARY_SIZE } from "../ids";

/** A table that adds one of its rows to a vector. */
export interface RowSource {
  /** Adds row `row` to `into[offset ... offset + E]`. */
  addRow(row: number, into: Float32Array, offset: number): void;
}

/** x[i] = E[ids[i]] + sum over functions and group sizes of T_s[hash(ids[i - g + 1 ... i])]. */
export class HashEmbedding {
  private readonly hashes: RollingHash[];

  /**
   * @param bytes [260, E]
   * @param tables one per slot: function-major, then group sizes in config order
   */
  constructor(
    private readonly bytes: Float32Array,
    private readonly tables: RowSource[],
    config: HashConfig,
  ) {
    this.hashes = [];
    for (let fn = 0; fn < config.functions; fn++)
      for (const size of config.groupSizes) this.hashes.push(new RollingHash(fn, size, config.vocab));
  }

  get width(): number {
    return this.bytes.length / VOCABULARY_SIZE;
  }

  /** Embeddings of positions `from` to `to` of a sequence of ids: [N, E]. */
  rows(ids: ArrayLike<number>, from: number, to: number): Float32Array {
    const width = this.width;
    const rows = new Float32Array((to - from) * width);
    for (let position = from; position < to; position++) {
      const offset = (position - from) * width;
      const id = ids[position];
      rows.set(this.bytes.subarray(id * width, (id + 1) * width), offset);
      for (let slot = 0; slot < this.hashes.length; slot++)
        this.tables[slot].addRow(this.hashes[slot].at(ids, position), rows, offset);
    }
    return rows;
  }
}

/** The hash of the last g ids, oldest first: sum of id_t * p^t in wrapping signed int64, floor modulo V. */
export class RollingHash {
  /** id * p^t modulo 2^64 as two unsigned halves, [g, 260]. */
  private readonly high: Float64Array;
  private readonly low: Float64Array;
  /** 2^32 modulo V. */
  private readonly carryOver: number;

  constructor(
    fn: number,
    private readonly size: number,
    private readonly vocab: number,
  ) {
    if (fn >= primes.length) throw new RangeError(`hash function ${fn}: only ${primes.length} are defined`);
    this.high = new Float64Array(size * VOCABULARY_SIZE);
    this.low = new Float64Array(size * VOCABULARY_SIZE);
    this.carryOver = 2 ** 32 % vocab;
    let power = 1n;
    for (let t = 0; t < size; t++) {
      for (let id = 0; id < VOCABULARY_SIZE; id++) {
        const product = BigInt.asUintN(64, BigInt(id) * power);
        this.high[t * VOCABULARY_SIZE + id] = Number(product >> 32n);
        this.low[t * VOCABULARY_SIZE + id] = Number(product & 0xffffffffn);
      }
      power = BigInt.asUintN(64, power * BigInt(primes[fn]));
    }
  }

  /** Bucket of the ids that end at `position`; ids before the sequence count as 0. */
  at(ids: ArrayLike<number>, position: number): number {
    let high = 0;
    let low = 0;
    for (let t = 0, index = position - this.size + 1; t < this.size; t++, index++) {
      if (index < 0) continue;
      const entry = t * VOCABULARY_SIZE + ids[index];
      high += this.high[entry];
      low += this.low[entry];
    }
    // The halves stay below 2^53; `| 0` makes the high one signed after the carry.
    const signedHigh = (high + Math.floor(low / 2 ** 32)) | 0;
    const floored = ((signedHigh % this.vocab) + this.vocab) % this.vocab;
    return (floored * this.carryOver + (low % 2 ** 32)) % this.vocab;
  }
}

/** The factors p^t modulo 2^64 of a hash's ids, oldest first, as signed int64: [g]. */
export function hashMultipliers(fn: number, size: number): bigint[] {
  return Array.from({ length: size }, (_, t) => BigInt.asIntN(64, BigInt(primes[fn]) ** BigInt(t)));
}

const primes = [
  1000000007, 5915587277, 1500450271, 3267000013, 5754853343, 4093082899, 9576890767, 3628273133, 2860486313,
  5463458053, 3367900313,
];
