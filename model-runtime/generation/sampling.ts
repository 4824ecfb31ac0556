/**
 * From next-byte logits to an id: transformations under their usual names, each a function of one row, and the order
 * in which they are applied.
 *
 * A row is [V] logits in nats (V = 260; log-probabilities are logits too), -Infinity where an id is impossible. No
 * function changes its argument.
 */

import { UserError } from "../errors";
import { BOS, BPE_DELIMITER, PADDING } from "../ids";
import type { Random } from "./random";

export interface SamplingOptions {
  /** Divides the logits; 0 is greedy. */
  temperature: number;
  /** Keep the k most probable ids. */
  topK?: number;
  /** Keep the fewest most probable ids that together hold this much probability, in (0, 1]. */
  topP?: number;
  /** Keep ids at least this fraction as probable as the most probable one, in [0, 1]. */
  minP?: number;
  /** Above 1 makes recent ids less likely, below 1 more likely. */
  repetitionPenalty?: number;
  /** How many of the last ids count as recent; default 64. */
  repetitionWindow?: number;
  /** Ids that may not be generated; default `neverGenerated`. */
  maskedIds?: readonly number[];
}

/** Special ids that are no text and no end of it. In mode `bpe` the model does write its delimiter: mask 0 and 1 only. */
export const neverGenerated: readonly number[] = [PADDING, BOS, BPE_DELIMITER];

const DEFAULT_REPETITION_WINDOW = 64;

/** UserError naming the first option that is out of its range. */
export function checkSampling(options: SamplingOptions): void {
  const { temperature, topK, topP, minP, repetitionPenalty, repetitionWindow } = options;
  const refuse = (name: string, range: string, value: number): never => {
    throw new UserError(`The ${name} must be ${range}, not ${value}.`);
  };
  if (!(Number.isFinite(temperature) && temperature >= 0)) {
    refuse("temperature", "a number of at least 0 (0 is greedy)", temperature);
  }
  if (topK !== undefined && !(Number.isInteger(topK) && topK >= 1)) {
    refuse("top-k", "a whole number of at least 1", topK);
  }
  if (topP !== undefined && !(topP > 0 && topP <= 1)) refuse("top-p", "above 0 and at most 1", topP);
  if (minP !== undefined && !(minP >= 0 && minP <= 1)) refuse("min-p", "from 0 to 1", minP);
  if (repetitionPenalty !== undefined && !(Number.isFinite(repetitionPenalty) && repetitionPenalty > 0)) {
    refuse("repetition penalty", "a number above 0 (1 is none)", repetitionPenalty);
  }
  if (repetitionWindow !== undefined && !(Number.isInteger(repetitionWindow) && repetitionWindow >= 0)) {
    refuse("repetition window", "a whole number of at least 0", repetitionWindow);
  }
}

/**
 * Picks the next id: of the most probable the first with temperature 0, else one drawn from `samplingDistribution`.
 *
 * @param recentIds the text so far; only the repetition penalty looks at it
 */
export function sample(
  logits: ArrayLike<number>,
  options: SamplingOptions,
  random: Random,
  recentIds: ArrayLike<number> = [],
): number {
  if (options.temperature === 0) return argmax(penalizedAndMasked(logits, options, recentIds));
  return draw(samplingDistribution(logits, options, recentIds), random);
}

/**
 * The distribution that `sample` draws from at a temperature above 0, [V]: mask, repetition penalty, temperature, top-k,
 * top-p, min-p, softmax, each cut computed on what the one before left.
 */
export function samplingDistribution(
  logits: ArrayLike<number>,
  options: SamplingOptions,
  recentIds: ArrayLike<number> = [],
): Float64Array {
  let row = applyTemperature(penalizedAndMasked(logits, options, recentIds), options.temperature);
  if (options.topK !== undefined) row = topK(row, options.topK);
  if (options.topP !== undefined) row = topP(row, options.topP);
  if (options.minP !== undefined) row = minP(row, options.minP);
  return softmax(row);
}

/** Log-probabilities in nats. An error when no id is possible or a logit is NaN. */
export function logSoftmax(logits: ArrayLike<number>): Float64Array {
  const max = maximum(logits);
  let total = 0;
  for (let id = 0; id < logits.length; id++) total += Math.exp(logits[id] - max);
  if (!(Number.isFinite(max) && Number.isFinite(total))) throw new Error("the logits are no distribution");
  const normalizer = max + Math.log(total);
  // A loop: for each byte written this is asked, and `from` with a function takes twenty times as long.
  const row = new Float64Array(logits.length);
  for (let id = 0; id < row.length; id++) row[id] = logits[id] - normalizer;
  return row;
}

export function softmax(logits: ArrayLike<number>): Float64Array {
  return logSoftmax(logits).map(Math.exp);
}

/** The id with the largest logit, the first of them on ties. An error when no id is possible. */
export function argmax(logits: ArrayLike<number>): number {
  let best = 0;
  for (let id = 1; id < logits.length; id++) if (logits[id] > logits[best]) best = id;
  if (!Number.isFinite(logits[best])) throw new Error("the logits are no distribution");
  return best;
}

/** Makes `ids` impossible. */
export function maskIds(logits: ArrayLike<number>, ids: readonly number[]): Float64Array {
  const masked = Float64Array.from(logits);
  for (const id of ids) masked[id] = Number.NEGATIVE_INFINITY;
  return masked;
}

/** Divides by `temperature` > 0, relative to the largest logit, so that no temperature is too small. */
export function applyTemperature(logits: ArrayLike<number>, temperature: number): Float64Array {
  const max = maximum(logits);
  return Float64Array.from(logits, (logit) => (logit - max) / temperature);
}

/** Keeps the `k` largest logits, exactly: of equal ones the lower ids. */
export function topK(logits: ArrayLike<number>, k: number): Float64Array {
  return keepOnly(logits, descending(logits).slice(0, k));
}

/**
 * Nucleus sampling: keeps the most probable ids until they hold at least `p` of the probability, and at least one; of
 * equally probable ones the lower ids.
 */
export function topP(logits: ArrayLike<number>, p: number): Float64Array {
  // The sum of all may fall short of 1 by rounding, never the wish for all.
  if (p >= 1) return Float64Array.from(logits);
  const probabilities = softmax(logits);
  const order = descending(probabilities);
  let mass = 0;
  let kept = 0;
  while (kept < order.length && mass < p) mass += probabilities[order[kept++]];
  return keepOnly(logits, order.slice(0, kept));
}

/** Keeps ids whose probability is at least `fraction` of the largest. */
export function minP(logits: ArrayLike<number>, fraction: number): Float64Array {
  const floor = maximum(logits) + Math.log(fraction);
  return Float64Array.from(logits, (logit) => (logit >= floor ? logit : Number.NEGATIVE_INFINITY));
}

/** Divides the positive and multiplies the negative logits of `ids` by `penalty`, once each (CTRL, Keskar et al. 2019). */
export function penalizeRepetition(logits: ArrayLike<number>, ids: ArrayLike<number>, penalty: number): Float64Array {
  const penalized = Float64Array.from(logits);
  for (const id of new Set(Array.from(ids))) {
    penalized[id] = logits[id] > 0 ? logits[id] / penalty : logits[id] * penalty;
  }
  return penalized;
}

function penalizedAndMasked(
  logits: ArrayLike<number>,
  options: SamplingOptions,
  recentIds: ArrayLike<number>,
): Float64Array {
  const masked = maskIds(logits, options.maskedIds ?? neverGenerated);
  const { repetitionPenalty = 1, repetitionWindow = DEFAULT_REPETITION_WINDOW } = options;
  if (repetitionPenalty === 1) return masked;
  const from = Math.max(0, recentIds.length - repetitionWindow);
  return penalizeRepetition(masked, Array.prototype.slice.call(recentIds, from), repetitionPenalty);
}

/** An id with the frequency its probability says. */
function draw(probabilities: Float64Array, random: Random): number {
  let rest = random();
  let last = 0;
  for (let id = 0; id < probabilities.length; id++) {
    if (probabilities[id] === 0) continue;
    last = id;
    rest -= probabilities[id];
    if (rest < 0) return id;
  }
  // The probabilities' sum fell short of 1 by rounding.
  return last;
}

/** Ids by falling value; equal values by rising id. */
function descending(row: ArrayLike<number>): number[] {
  return Array.from(row, (_, id) => id).sort((a, b) => (row[a] === row[b] ? a - b : row[b] - row[a]));
}

function keepOnly(logits: ArrayLike<number>, ids: readonly number[]): Float64Array {
  const kept = new Float64Array(logits.length).fill(Number.NEGATIVE_INFINITY);
  for (const id of ids) kept[id] = logits[id];
  return kept;
}

function maximum(row: ArrayLike<number>): number {
  let max = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < row.length; id++) if (row[id] > max) max = row[id];
  return max;
}
