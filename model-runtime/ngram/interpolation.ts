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
/** Weights that an interpolation has: for the workspace's levels and for the text's own. */
export const INTERPOLATION_WEIGHTS = 2 * LEVELS * SITUATIONS;

const LARGEST_WEIGHT = 8;
/** Bound of the gradient that one byte gives. */
const LARGEST_GRADIENT = 3;

export class Interpolation {
  /** [SYMBOLS], sums to 1. */
  readonly distribution = new Float64Array(SYMBOLS);
  /** What all symbols keep of the base, and what single ones have besides: distribution = kept * base + added. */
  kept = 1;
  readonly added = new Float64Array(SYMBOLS);
  /** Symbols that have something besides. */
  readonly touched = new Uint16Array(SYMBOLS);
  touchedCount = 0;

  private readonly isTouched = new Uint8Array(SYMBOLS);
  private base: Float64Array = this.distribution;
  private steps = 0;
  private readonly stepSource = new Uint8Array(2 * LEVELS);
  private readonly stepEntry = new Uint8Array(2 * LEVELS);
  private readonly stepWeight = new Int32Array(2 * LEVELS);
  private readonly stepRest = new Float64Array(2 * LEVELS);
  private readonly before = new Float64Array(2 * LEVELS);
  private readonly share = new Float64Array(2 * LEVELS);

  /** @param offset where the weights of this interpolation begin among all */
  constructor(private readonly offset: number) {}

  /**
   * Starts from `base` [SYMBOLS], which sums to 1 and must not change before `learn`.
   *
   * @param sources levels of the workspace and of the text itself
   * @param sureness class of the base, see SURENESS_CLASSES
   */
  run(base: Float64Array, sources: readonly Levels[], baseBest: number, sureness: number, weights: Float32Array): void {
    const { added, touched, isTouched } = this;
    for (let i = 0; i < this.touchedCount; i++) {
      added[touched[i]] = 0;
      isTouched[touched[i]] = 0;
    }
    this.touchedCount = this.steps = 0;
    this.base = base;
    this.kept = 1;
    let next = sources[0].count - 1;
    let nextOwn = sources[1].count - 1;
    while (next >= 0 || nextOwn >= 0) {
      // At the same length the text itself speaks last.
      const isOwn = next < 0 || (nextOwn >= 0 && sources[1].level[nextOwn] < sources[0].level[next]);
      const source = isOwn ? 1 : 0;
      this.step(source, sources[source], isOwn ? nextOwn-- : next--, baseBest, sureness, weights);
    }
    this.finish();
  }

  private step(
    source: number,
    levels: Levels,
    entry: number,
    baseBest: number,
    sureness: number,
    weights: Float32Array,
  ): void {
    const { added, touched, isTouched, base } = this;
    const from = levels.start[entry];
    const to = levels.start[entry + 1];
    const places = levels.places[entry];
    const best = levels.best[entry];
    const agreement = best === baseBest ? 2 : this.kept * base[best] + added[best] > 0.1 ? 1 : 0;
    const variety = Math.min(VARIETY_CLASSES, to - from) - 1;
    const situation = (placeClass(places) * VARIETY_CLASSES + variety) * AGREEMENT_CLASSES + agreement;
    const index =
      this.offset + ((source * LEVELS + levels.level[entry]) * SITUATIONS + situation * SURENESS_CLASSES + sureness);
    const rest = 1 / (1 + Math.exp(-weights[index]));
    const step = this.steps++;
    this.stepSource[step] = source;
    this.stepEntry[step] = entry;
    this.stepWeight[step] = index;
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

  private finish(): void {
    const { distribution, base, added, kept } = this;
    for (let symbol = 0; symbol < SYMBOLS; symbol++) distribution[symbol] = kept * base[symbol] + added[symbol];
  }

  /**
   * Moves the weights that spoke towards what would have made `symbol` more probable.
   *
   * @param change is told the index and the new value of each weight
   */
  learn(
    symbol: number,
    sources: readonly Levels[],
    rate: number,
    weights: Float32Array,
    change: (index: number, value: number) => void,
  ): void {
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
      const gradient = outer * (before[step] - share[step]) * rest * (1 - rest);
      const bounded = Math.max(-LARGEST_GRADIENT, Math.min(LARGEST_GRADIENT, gradient));
      const moved = weights[this.stepWeight[step]] + rate * bounded;
      change(this.stepWeight[step], Math.max(-LARGEST_WEIGHT, Math.min(LARGEST_WEIGHT, moved)));
      outer *= rest;
    }
  }
}

/** The weights that an interpolation begins with where nothing was learned. */
export function initialWeights(): Float32Array {
  const weights = new Float32Array(INTERPOLATION_WEIGHTS);
  for (let index = 0; index < INTERPOLATION_WEIGHTS; index++) {
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

/** Class of how sure a distribution is of its first symbol. */
export function surenessOf(probability: number): number {
  if (probability > 0.8) return probability > 0.95 ? 4 : 3;
  return probability > 0.5 ? 2 : probability > 0.1 ? 1 : 0;
}
