/**
 * A distribution as the workspace and the text so far say, level by level from short contexts to long ones: each level
 * moves part of the probability to the symbols it has seen. How much is left to what was said before is the level's
 * *rest*, learned for each situation: P := rest * P + (1 - rest) * counts / places.
 */
import { SYMBOLS } from "./chains";
import { LEVELS, type Levels } from "./levels";

/** Number of places, in classes: 1, 2, 3 to 4, 5 to 8, 9 to 20, more. */
const PLACE_CLASSES = 6;
/** Number of different symbols: 1, 2, more. */
const VARIETY_CLASSES = 3;
/** Whether what was said before agrees: its symbol too, thinks it possible, does not. */
const AGREEMENT_CLASSES = 3;
/** How sure the base is of its first symbol: 0.1 or less, above that, above 0.5, 0.8, 0.95. */
const SURENESS_CLASSES = 5;
const SITUATIONS = PLACE_CLASSES * VARIETY_CLASSES * AGREEMENT_CLASSES * SURENESS_CLASSES;
/** Number of places, finer: 1, 2, 3, 4 to 5, 6 to 8, 9 to 16, then in powers of two to more than 256. */
const FINE_PLACE_CLASSES = 11;
/** Share of the most frequent symbol: less than 0.3, up from there, up from 0.5, 0.75, 0.9, all. */
const SHARE_CLASSES = 6;
/** What the last byte is, see KIND_OF. */
const KINDS = 10;

/** A level's rest is looked up in three tables: by its length in detail, by its share in detail, by the last byte. */
const FIRST_SHARE = 2 * LEVELS * SITUATIONS;
const FIRST_KIND = FIRST_SHARE + 2 * FINE_PLACE_CLASSES * SHARE_CLASSES * AGREEMENT_CLASSES * SURENESS_CLASSES;
const TABLES = 3;
/** Weights that an interpolation has: for the workspace's levels and for the text's own. */
export const INTERPOLATION_WEIGHTS = FIRST_KIND + 2 * LEVELS * KINDS;

/** Small and capital letters, digits, `_` and what is not ASCII, blanks, line ends, `.`, opening brackets, quotes, all else. */
const KIND_OF = Uint8Array.from({ length: 256 }, (_, byte) => {
  if (byte >= 128) return 3;
  const kinds = [/[a-z]/, /[A-Z]/, /[0-9]/, /_/, /[ \t]/, /\n/, /\./, /[([{<]/, /["'`]/];
  const found = kinds.findIndex((kind) => kind.test(String.fromCharCode(byte)));
  return found < 0 ? KINDS - 1 : found;
});

/** Bound of the slope that one byte gives. */
const LARGEST_SLOPE = 3;
/** Bound of a rest's weights together. */
const LARGEST_SUM = 12;

export class Interpolation {
  /** What all symbols keep of the base, and what single ones have besides: probability = kept * base + added. */
  kept = 1;
  readonly added = new Float64Array(SYMBOLS);
  /** Symbols that have something besides. */
  readonly touched = new Uint16Array(SYMBOLS);
  touchedCount = 0;

  private readonly isTouched = new Uint8Array(SYMBOLS);
  private base: Float64Array = this.added;
  private baseBest = 0;
  private sureness = 0;
  private kind = 0;
  private steps = 0;
  private readonly stepSource = new Uint8Array(2 * LEVELS);
  private readonly stepEntry = new Uint8Array(2 * LEVELS);
  /** Where the step's weights are, [steps, TABLES]. */
  private readonly stepWeights = new Int32Array(2 * LEVELS * TABLES);
  private readonly stepRest = new Float64Array(2 * LEVELS);
  private readonly before = new Float64Array(2 * LEVELS);
  private readonly share = new Float64Array(2 * LEVELS);

  /** @param offset where the weights of this interpolation begin among all */
  constructor(private readonly offset: number) {}

  /**
   * Starts from `base` [SYMBOLS], which sums to 1 and must not change before `learn`; `kept`, `added` and `touched` say what came
   * of it.
   *
   * @param sources levels of the workspace and of the text itself
   * @param baseBest the base's most probable symbol
   * @param lastByte the byte before the one that is predicted
   */
  run(base: Float64Array, sources: readonly Levels[], baseBest: number, lastByte: number, weights: Float32Array): void {
    const { added, touched, isTouched } = this;
    for (let i = 0; i < this.touchedCount; i++) {
      added[touched[i]] = 0;
      isTouched[touched[i]] = 0;
    }
    this.touchedCount = this.steps = 0;
    this.base = base;
    this.baseBest = baseBest;
    this.sureness = surenessOf(base[baseBest]);
    this.kind = KIND_OF[lastByte];
    this.kept = 1;
    let next = sources[0].count - 1;
    let nextOwn = sources[1].count - 1;
    while (next >= 0 || nextOwn >= 0) {
      // At the same length the text itself speaks last.
      const isOwn = next < 0 || (nextOwn >= 0 && sources[1].level[nextOwn] < sources[0].level[next]);
      const source = isOwn ? 1 : 0;
      this.step(source, sources[source], isOwn ? nextOwn-- : next--, weights);
    }
  }

  private step(source: number, levels: Levels, entry: number, weights: Float32Array): void {
    const { added, touched, isTouched, base, stepWeights } = this;
    const from = levels.start[entry];
    const to = levels.start[entry + 1];
    const places = levels.places[entry];
    const best = levels.best[entry];
    const level = source * LEVELS + levels.level[entry];
    const agreement = best === this.baseBest ? 2 : this.kept * base[best] + added[best] > 0.1 ? 1 : 0;
    const variety = Math.min(VARIETY_CLASSES, to - from) - 1;
    const share = shareClass(levels.bestCounts[entry] / places);
    const belief = agreement * SURENESS_CLASSES + this.sureness;
    const step = this.steps++;
    const at = step * TABLES;
    const detail = (level * PLACE_CLASSES + placeClass(places)) * VARIETY_CLASSES + variety;
    const shares = (source * FINE_PLACE_CLASSES + finePlaceClass(places)) * SHARE_CLASSES + share;
    stepWeights[at] = this.offset + detail * AGREEMENT_CLASSES * SURENESS_CLASSES + belief;
    stepWeights[at + 1] = this.offset + FIRST_SHARE + shares * AGREEMENT_CLASSES * SURENESS_CLASSES + belief;
    stepWeights[at + 2] = this.offset + FIRST_KIND + level * KINDS + this.kind;
    const weight = weights[stepWeights[at]] + weights[stepWeights[at + 1]] + weights[stepWeights[at + 2]];
    const rest = 1 / (1 + Math.exp(-Math.max(-LARGEST_SUM, Math.min(LARGEST_SUM, weight))));
    this.stepSource[step] = source;
    this.stepEntry[step] = entry;
    this.stepRest[step] = rest;
    this.kept *= rest;
    for (let i = 0; i < this.touchedCount; i++) added[touched[i]] *= rest;
    const unit = (1 - rest) / places;
    for (let i = from; i < to; i++) {
      const symbol = levels.symbols[i];
      if (isTouched[symbol] === 0) {
        isTouched[symbol] = 1;
        touched[this.touchedCount++] = symbol;
      }
      added[symbol] += unit * levels.counts[i];
    }
  }

  /** The probability of a symbol. */
  probability(symbol: number): number {
    return this.kept * this.base[symbol] + this.added[symbol];
  }

  /** Tells for each weight that spoke the slope of the logarithm of `symbol`'s probability along it, within +-3. */
  learn(symbol: number, sources: readonly Levels[], take: (index: number, slope: number) => void): void {
    const { steps, stepRest, before, share } = this;
    let probability = this.base[symbol];
    for (let step = 0; step < steps; step++) {
      const levels = sources[this.stepSource[step]];
      const entry = this.stepEntry[step];
      before[step] = probability;
      share[step] = 0;
      for (let i = levels.start[entry]; i < levels.start[entry + 1]; i++) {
        if (levels.symbols[i] === symbol) share[step] = levels.counts[i] / levels.places[entry];
      }
      probability = stepRest[step] * probability + (1 - stepRest[step]) * share[step];
    }
    // d log P / d rest, from the last step to the first.
    let outer = 1 / probability;
    for (let step = steps - 1; step >= 0; step--) {
      const rest = stepRest[step];
      const slope = outer * (before[step] - share[step]) * rest * (1 - rest);
      const bounded = Math.max(-LARGEST_SLOPE, Math.min(LARGEST_SLOPE, slope));
      for (let table = 0; table < TABLES; table++) take(this.stepWeights[step * TABLES + table], bounded);
      outer *= rest;
    }
  }
}

/** The weights that an interpolation begins with where nothing was learned: those of the first table, and zeros. */
export function initialWeights(): Float32Array {
  const weights = new Float32Array(INTERPOLATION_WEIGHTS);
  for (let index = 0; index < FIRST_SHARE; index++) {
    const level = Math.floor(index / SITUATIONS) % LEVELS;
    const perVariety = AGREEMENT_CLASSES * SURENESS_CLASSES;
    const variety = Math.floor(index / perVariety) % VARIETY_CLASSES;
    const places = Math.floor(index / (perVariety * VARIETY_CLASSES)) % PLACE_CLASSES;
    weights[index] = variety > 0 ? 0.8 - 0.13 * level : 1.2 - 0.33 * level - 0.5 * places;
  }
  return weights;
}

function placeClass(places: number): number {
  if (places < 5) return places < 3 ? places - 1 : 2;
  return places < 9 ? 3 : places < 21 ? 4 : 5;
}

function finePlaceClass(places: number): number {
  if (places < 9) return places < 4 ? places - 1 : places < 6 ? 3 : 4;
  return Math.min(FINE_PLACE_CLASSES - 1, 33 - Math.clz32(places - 1));
}

function shareClass(share: number): number {
  if (share >= 0.75) return share >= 1 ? 5 : share >= 0.9 ? 4 : 3;
  return share >= 0.5 ? 2 : share >= 0.3 ? 1 : 0;
}

/** Class of how sure a distribution is of its first symbol. */
export function surenessOf(probability: number): number {
  if (probability > 0.8) return probability > 0.95 ? 4 : 3;
  return probability > 0.5 ? 2 : probability > 0.1 ? 1 : 0;
}
