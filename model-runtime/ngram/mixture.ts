/**
 * The network's distribution of the next byte, mixed with what the workspace and the text so far say (docs/ngram.md).
 *
 * Three distributions over 256 bytes and the end: the network's N; A, the interpolation that starts from N; B, the one that
 * starts from the workspace's counts behind the last byte and knows no network. The mixture is the geometric one,
 * P(s) = N(s)^n A(s)^a B(s)^b / Z, with exponents for each pair of longest contexts. Without a network it is B alone.
 */
import { argmax } from "../generation/sampling";
import { Candidates, SYMBOLS } from "./chains";
import { HISTORY_PLACES, type History } from "./history";
import { INTERPOLATION_WEIGHTS, Interpolation, initialWeights, surenessOf } from "./interpolation";
import { Levels } from "./levels";
import { WORKSPACE_PLACES, type WorkspaceIndex } from "./workspace-index";

/** Classes of a longest context: none, 4 to 5 bytes, 6 to 8, 9 to 13, 14 to 23, longer. */
const LENGTH_CLASSES = 6;
const EXPONENTS = 3;
const FIRST_EXPONENT = 2 * INTERPOLATION_WEIGHTS;
/** Exponents for a network that thinks some byte likely, and for one that has no idea, as one that knows nothing. */
const IDEA_CLASSES = 2;
/** All that is learned: the weights of A, those of B, the exponents [idea, workspace's class, text's class, N A B]. */
export const MIXTURE_WEIGHTS = FIRST_EXPONENT + IDEA_CLASSES * LENGTH_CLASSES * LENGTH_CLASSES * EXPONENTS;

/** What a probability of the network counts as at least, so that counts can always speak against it. */
const LEAST_PROBABILITY = 1e-6;
const LEAST_PROBABILITY_LOG = Math.log(LEAST_PROBABILITY);
/** The logarithm that a probability has at least in the mixture. */
const LEAST_LOG = Math.log(1e-9);
const EXPONENT_RANGE = { least: -0.5, most: 2 };
const LARGEST_WEIGHT = 8;

/** Steps of the gradient. */
export interface LearningRates {
  /** Of the weights of A and B. */
  interpolation: number;
  exponents: number;
}

export const learningRates: LearningRates = { interpolation: 0.02, exponents: 0.005 };

export function initialMixtureWeights(): Float32Array {
  const weights = new Float32Array(MIXTURE_WEIGHTS);
  weights.set(initialWeights());
  weights.set(initialWeights(), INTERPOLATION_WEIGHTS);
  for (let i = FIRST_EXPONENT; i < MIXTURE_WEIGHTS; i += EXPONENTS) weights.set([0.3, 0.5, 0.2], i);
  return weights;
}

/** The value that a weight has after a step along a slope. */
export function stepped(index: number, value: number, slope: number, rates: LearningRates): number {
  const isExponent = index >= FIRST_EXPONENT;
  const { least, most } = isExponent ? EXPONENT_RANGE : { least: -LARGEST_WEIGHT, most: LARGEST_WEIGHT };
  return Math.max(least, Math.min(most, value + slope * (isExponent ? rates.exponents : rates.interpolation)));
}

/** One prediction at a time: `predict`, and then, where weights are learned, `learn` with what came. */
export class Mixture {
  /** [SYMBOLS]: logarithms of the last prediction, nats. */
  readonly logProbs = new Float64Array(SYMBOLS);
  /** The same as counts alone have it. */
  readonly counted = new Interpolation(INTERPOLATION_WEIGHTS);

  private readonly found = [new Candidates(WORKSPACE_PLACES), new Candidates(HISTORY_PLACES)];
  private readonly levels = [new Levels(WORKSPACE_PLACES), new Levels(HISTORY_PLACES)];
  private readonly adjusted = new Interpolation(0);
  private readonly network = new Float64Array(SYMBOLS);
  private pairs: Pairs | null = null;
  /** By the last byte, as long as the workspace is as it was. */
  private readonly pairsOf = new Array<Pairs | null>(256).fill(null);
  private pairsVersion = -1;
  private readonly logs = [new Float64Array(SYMBOLS), new Float64Array(SYMBOLS), new Float64Array(SYMBOLS)];
  /** The mixture before it is normalised. */
  private readonly mixed = new Float64Array(SYMBOLS);
  /** Sum of `mixed`. */
  private total = 1;
  /** Where the exponents are among the weights. */
  private exponents = FIRST_EXPONENT;
  private hasNetwork = false;

  constructor(private readonly workspace: WorkspaceIndex | null) {}

  /** Predicts what follows the text. `network`: [SYMBOLS] logits, null to count alone. */
  predict(history: History, network: ArrayLike<number> | null, weights: Float32Array): Float64Array {
    const { found, levels } = this;
    for (const candidates of found) candidates.count = 0;
    this.workspace?.collect(history.bytes, history.end, found[0]);
    history.collect(found[1]);
    for (let i = 0; i < levels.length; i++) levels[i].build(found[i]);
    const last = history.bytes[history.end - 1];
    this.setPairs(last);
    const { probabilities, best } = this.pairs!;
    this.counted.run(probabilities, levels, best, last, weights);
    this.hasNetwork = network !== null;
    if (network === null) {
      for (let s = 0; s < SYMBOLS; s++) this.logProbs[s] = Math.log(this.counted.probability(s));
      return this.logProbs;
    }
    const sure = this.setNetwork(network);
    this.adjusted.run(this.network, levels, sure, last, weights);
    this.mix(surenessOf(this.network[sure]) > 0, weights);
    return this.logProbs;
  }

  /**
   * Tells for each weight that spoke the slope along it: of the logarithm of `symbol`'s probability for an exponent, and of what A
   * or B gives it for a weight of theirs.
   */
  learn(symbol: number, take: (index: number, slope: number) => void): void {
    const { levels, mixed, total, logs, exponents } = this;
    if (this.hasNetwork) {
      for (let i = 0; i < EXPONENTS; i++) {
        let expected = 0;
        for (let s = 0; s < SYMBOLS; s++) expected += mixed[s] * logs[i][s];
        take(exponents + i, logs[i][symbol] - expected / total);
      }
      this.adjusted.learn(symbol, levels, take);
    }
    this.counted.learn(symbol, levels, take);
  }

  private mix(hasIdea: boolean, weights: Float32Array): void {
    const { logs, mixed, logProbs, levels } = this;
    const classes = [hasIdea ? 0 : 1, lengthClass(levels[0].longest), lengthClass(levels[1].longest)];
    const set = classes.reduce((index, each) => index * LENGTH_CLASSES + each, 0);
    this.exponents = FIRST_EXPONENT + set * EXPONENTS;
    const n = weights[this.exponents];
    const a = weights[this.exponents + 1];
    const b = weights[this.exponents + 2];
    const [byNetwork, adjusted, counted] = logs;
    fillInterpolated(this.adjusted, byNetwork, adjusted);
    fillInterpolated(this.counted, this.pairs!.logs, counted);
    // Logarithms of at least -21 and exponents of at most 2: nothing overflows, and not all vanish.
    let total = 0;
    for (let s = 0; s < SYMBOLS; s++) {
      const score = n * byNetwork[s] + a * adjusted[s] + b * counted[s];
      logProbs[s] = score;
      total += mixed[s] = Math.exp(score);
    }
    this.total = total;
    const normalizer = Math.log(total);
    for (let s = 0; s < SYMBOLS; s++) logProbs[s] -= normalizer;
  }

  /** Normalises logits; no probability counts as less than LEAST_PROBABILITY. Returns the most probable symbol. */
  private setNetwork(logits: ArrayLike<number>): number {
    const { network } = this;
    const into = this.logs[0];
    let best = 0;
    for (let s = 1; s < SYMBOLS; s++) if (logits[s] > logits[best]) best = s;
    const most = logits[best];
    let total = 0;
    for (let s = 0; s < SYMBOLS; s++) total += network[s] = Math.exp(logits[s] - most);
    if (!Number.isFinite(total)) throw new Error("the network's logits are no distribution");
    const normalizer = most + Math.log(total);
    let raised = 0;
    for (let s = 0; s < SYMBOLS; s++) raised += network[s] = Math.max(LEAST_PROBABILITY, network[s] / total);
    const shift = Math.log(raised);
    for (let s = 0; s < SYMBOLS; s++) {
      network[s] /= raised;
      into[s] = Math.max(LEAST_PROBABILITY_LOG, logits[s] - normalizer) - shift;
    }
    return best;
  }

  /** The counts behind the last byte, filled up evenly as if there were one more of each variety seen. */
  private setPairs(last: number): void {
    const { workspace } = this;
    const version = workspace?.version ?? 0;
    if (version !== this.pairsVersion) {
      this.pairsOf.fill(null);
      this.pairsVersion = version;
    }
    let known = this.pairsOf[last];
    if (known === null) {
      const probabilities = new Float64Array(SYMBOLS).fill(1 / SYMBOLS);
      if (workspace !== null) fillPairs(workspace.pairCounts(last), probabilities);
      known = { probabilities, logs: probabilities.map(Math.log), best: argmax(probabilities) };
      this.pairsOf[last] = known;
    }
    this.pairs = known;
  }
}

/** A distribution behind one byte. */
interface Pairs {
  probabilities: Float64Array;
  logs: Float64Array;
  best: number;
}

function fillPairs(counts: Uint32Array, into: Float64Array): void {
  let total = 0;
  let variety = 0;
  for (let s = 0; s < SYMBOLS; s++) {
    total += counts[s];
    if (counts[s] > 0) variety++;
  }
  const even = (variety + 1) / SYMBOLS;
  for (let s = 0; s < SYMBOLS; s++) into[s] = (counts[s] + even) / (total + variety + 1);
}

/** Logarithms of an interpolation whose base has `baseLogs`: most symbols only lost a common factor to it. */
function fillInterpolated(interpolation: Interpolation, baseLogs: Float64Array, into: Float64Array): void {
  const { kept, touched, touchedCount } = interpolation;
  const shift = Math.log(kept);
  for (let s = 0; s < SYMBOLS; s++) into[s] = Math.max(LEAST_LOG, baseLogs[s] + shift);
  for (let i = 0; i < touchedCount; i++) {
    into[touched[i]] = Math.max(LEAST_LOG, Math.log(interpolation.probability(touched[i])));
  }
}

function lengthClass(length: number): number {
  if (length < 9) return length < 4 ? 0 : length < 6 ? 1 : 2;
  return length < 14 ? 3 : length < 24 ? 4 : 5;
}
