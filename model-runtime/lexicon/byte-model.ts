/** The byte model that writes on where pieces have ended (docs/lexicon.md: the fallback). */
import { EOS_SYMBOL, SYMBOLS } from "./open-word";

/** Distributions of the next symbol in a text that changes at its end. */
export interface ByteModel {
  /**
   * What follows each beginning of the text.
   * @param text the text; what is before the last `truncate` has not changed since
   * @param ahead bytes that are likely to follow the first `to`, asked for where they can be read along
   * @returns probabilities [257] after the first `from`, `from + 1`, ... `to` bytes, EOS last
   */
  after(
    text: Uint8Array,
    from: number,
    to: number,
    signal?: AbortSignal,
    ahead?: () => Uint8Array,
  ): Promise<Float64Array[]>;
  /** The bytes from `length` on are going to be others. */
  truncate(length: number): void;
  /** For a copy of the text. */
  fork(): ByteModel;
}

/** Which contexts are counted, and how much what is known without them weighs. */
interface Counting {
  /** Shortest and longest context, bytes. */
  shortest: number;
  longest: number;
  /** Weight of the shorter context's distribution for each different byte that followed the longer one. */
  trust: number;
  /** Of the result, so much is spread over all bytes. */
  evenShare: number;
}

const EOS_PROBABILITY = 1e-4;

/** Weights of the symbols where nothing is known. */
const even = new Float64Array(SYMBOLS).fill(1 / 256);
even[EOS_SYMBOL] = EOS_PROBABILITY;

/** From no context up, where nothing else is known (Witten and Bell). */
const ALONE: Counting = { shortest: 0, longest: 5, trust: 1, evenShare: 0 };
/**
 * A trained model knows short contexts better than a file's counts do (pretraining/log.md: the fallback). Where a piece has ended against all
 * likelihood it knows only what the likely pieces would have brought, and is far too sure of it: hence the even share.
 */
const ON_A_MODEL: Counting = { shortest: 3, longest: 6, trust: 3, evenShare: 0.01 };

/**
 * A stand-in for a trained byte model: what followed the last 0 to 5 bytes earlier in the text, blended from short to
 * long. It holds nothing, so it is a function of the text by construction.
 */
export function countingModel(): ByteModel {
  return {
    after: async (text, from, to) =>
      Array.from({ length: to - from + 1 }, (_, i) => countedAfter(text, from + i, even, ALONE)),
    truncate: () => undefined,
    fork: countingModel,
  };
}

/**
 * `model`, and over it what followed the last 3 to 6 bytes earlier in the text: names and phrases that come again.
 * @param model gives each beginning of a text a row of its own
 */
export function withCounts(model: ByteModel, counted = new WeakMap<Float64Array, Float64Array>()): ByteModel {
  // A row that the model gives again is of the same beginning of a text.
  const countedRow = (text: Uint8Array, length: number, known: Float64Array): Float64Array => {
    const row = counted.get(known) ?? countedAfter(text, length, known, ON_A_MODEL);
    counted.set(known, row);
    return row;
  };
  return {
    after: async (text, from, to, signal, ahead) =>
      (await model.after(text, from, to, signal, ahead)).map((known, i) => countedRow(text, from + i, known)),
    truncate: (length) => model.truncate(length),
    fork: () => withCounts(model.fork(), counted),
  };
}

/** What `countedAfter` counts in: it is asked for each byte written, and begins anew. */
const scratch = new Uint32Array((Math.max(ALONE.longest, ON_A_MODEL.longest) + 1) * 256);

/** One pass over the text: how long is the common ending of each place and the text's end. Asked for each byte written, so it looks at nothing twice. */
function countedAfter(text: Uint8Array, length: number, known: Float64Array, counting: Counting): Float64Array {
  const { shortest, trust, evenShare } = counting;
  const longest = Math.min(counting.longest, length);
  /** By context length and byte. */
  const counts = scratch.fill(0, 0, (longest + 1) * 256);
  if (shortest === 0) for (let at = 0; at < length; at++) counts[text[at]]++;
  const first = Math.max(1, shortest);
  const last = length > 0 ? text[length - 1] : -1;
  const beforeLast = length > 1 && first > 1 ? text[length - 2] : -1;
  for (let at = first; at < length; at++) {
    if (text[at - 1] !== last || (beforeLast >= 0 && text[at - 2] !== beforeLast)) continue;
    for (let order = 1; order <= longest && order <= at && text[at - order] === text[length - order]; order++)
      if (order >= first) counts[256 * order + text[at]]++;
  }
  const blend = known.slice();
  for (let order = shortest; order <= longest; order++) {
    const followers = counts.subarray(256 * order, 256 * (order + 1));
    let total = 0;
    let distinct = 0;
    for (let byte = 0; byte < 256; byte++) {
      total += followers[byte];
      if (followers[byte] > 0) distinct++;
    }
    if (total === 0) break;
    const rest = trust * distinct;
    for (let byte = 0; byte < 256; byte++) blend[byte] = (blend[byte] * rest + followers[byte]) / (total + rest);
    blend[EOS_SYMBOL] *= rest / (total + rest);
  }
  let sum = 0;
  for (let symbol = 0; symbol < SYMBOLS; symbol++) sum += blend[symbol];
  for (let symbol = 0; symbol < SYMBOLS; symbol++)
    blend[symbol] = ((1 - evenShare) * blend[symbol]) / sum + (evenShare * even[symbol]) / (1 + EOS_PROBABILITY);
  return blend;
}
