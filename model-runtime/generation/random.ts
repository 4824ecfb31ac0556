/** Seeded random numbers: xoshiro128** (Blackman and Vigna 2018), its state filled by splitmix32. */

import { UserError } from "../errors";

/** A double in [0, 1), all 53 bits of it random. */
export type Random = () => number;

/** The same seed (a whole number below 2^32) gives the same numbers on every machine. */
export function createRandom(seed: number): Random {
  if (!Number.isInteger(seed) || seed < 0 || seed >= 2 ** 32) {
    throw new UserError(`The seed must be a whole number from 0 to ${2 ** 32 - 1}, not ${seed}.`);
  }
  const fill = splitmix32(seed);
  const next = xoshiro128(Uint32Array.from({ length: 4 }, fill));
  return () => ((next() >>> 5) * 2 ** 26 + (next() >>> 6)) / 2 ** 53;
}

/** xoshiro128** on a state of four words, not all zero, which it changes; gives unsigned 32-bit numbers. */
export function xoshiro128(state: Uint32Array): () => number {
  return () => {
    const result = Math.imul(rotateLeft(Math.imul(state[1], 5), 7), 9) >>> 0;
    const shifted = state[1] << 9;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotateLeft(state[3], 11);
    return result;
  };
}

/** Unsigned 32-bit numbers; successive ones are distinct, so four of them are never all zero. */
function splitmix32(seed: number): () => number {
  let counter = seed;
  return () => {
    counter = (counter + 0x9e3779b9) | 0;
    let mixed = counter ^ (counter >>> 16);
    mixed = Math.imul(mixed, 0x21f0aaad);
    mixed ^= mixed >>> 15;
    mixed = Math.imul(mixed, 0x735a2d97);
    return (mixed ^ (mixed >>> 15)) >>> 0;
  };
}

function rotateLeft(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits));
}
