/** The byte model that writes on where pieces have ended (docs/lexicon.md: the fallback). */
import { EOS_SYMBOL, SYMBOLS } from "./open-word";

/** Distributions of the next symbol in a text that changes at its end. */
export interface ByteModel {
  /**
   * What follows each beginning of the text.
   * @param text the text; what is before the last `truncate` has not changed since
   * @returns probabilities [257] after the first `from`, `from + 1`, ... `to` bytes, EOS last
   */
  after(text: Uint8Array, from: number, to: number, signal?: AbortSignal): Promise<Float64Array[]>;
  /** The bytes from `length` on are going to be others. */
  truncate(length: number): void;
  /** For a copy of the text. */
  fork(): ByteModel;
}

/** Longest context that is counted, bytes. */
const ORDER = 5;
const EOS_PROBABILITY = 1e-4;

/**
 * A stand-in for a trained byte model: what followed the last 0 to 5 bytes earlier in the text, blended from short to
 * long (Witten and Bell). It holds nothing, so it is a function of the text by construction.
 */
export function countingModel(): ByteModel {
  return {
    after: async (text, from, to) => Array.from({ length: to - from + 1 }, (_, i) => countedAfter(text, from + i)),
    truncate: () => undefined,
    fork: countingModel,
  };
}

/** One pass over the text: how long is the common ending of each place and the text's end. */
function countedAfter(text: Uint8Array, length: number): Float64Array {
  const longest = Math.min(ORDER, length);
  /** By context length and byte. */
  const counts = new Uint32Array((ORDER + 1) * 256);
  for (let at = 0; at < length; at++) {
    counts[text[at]]++;
    for (let order = 1; order <= longest && order <= at && text[at - order] === text[length - order]; order++)
      counts[256 * order + text[at]]++;
  }
  const blend = new Float64Array(SYMBOLS).fill(1 / 256);
  blend[EOS_SYMBOL] = EOS_PROBABILITY;
  for (let order = 0; order <= ORDER; order++) {
    const followers = counts.subarray(256 * order, 256 * (order + 1));
    let [total, distinct] = [0, 0];
    for (let byte = 0; byte < 256; byte++) {
      total += followers[byte];
      if (followers[byte] > 0) distinct++;
    }
    if (total === 0) break;
    for (let byte = 0; byte < 256; byte++)
      blend[byte] = (blend[byte] * distinct + followers[byte]) / (total + distinct);
    blend[EOS_SYMBOL] *= distinct / (total + distinct);
  }
  let sum = 0;
  for (let symbol = 0; symbol < SYMBOLS; symbol++) sum += blend[symbol];
  for (let symbol = 0; symbol < SYMBOLS; symbol++) blend[symbol] /= sum;
  return blend;
}
