/**
 * What training needs of a model, whatever the model. A *row* is a stretch of text of the size that one run takes:
 * pieces of several documents one after the other, or bytes of one.
 */
import type { SessionOptions } from "../session";
import type { ParameterLayout } from "./low-rank-parameters";

/** How a model is trained. */
export interface TraineeOptions extends SessionOptions {
  rank: number;
  alpha: number;
  /** Kinds of layers that are adapted: `q_proj`, `down_proj`, ... */
  targets: readonly string[];
  /** How many of the last layers are trained. */
  layers: number;
  /** Of a row. */
  positions: number;
  labelSmoothing: number;
  /** Whether values within layers are computed anew on the way back: less memory, a third more work. */
  checkpointLayers: boolean;
  /** Bytes that frozen results may take. */
  cacheBytes: number;
}

/** A text to learn from. */
export interface Document {
  /** Name for messages and statistics. */
  path: string;
  bytes: Uint8Array;
  /** Of its losses, relative to others. */
  weight: number;
}

export interface Row {
  /** Bytes that are predicted in it. */
  bytes: number;
  /** Predictions in it, and the sum of their weights. */
  predictions: number;
  weight: number;
}

/** What a run over a row says. Sums over its predictions, unweighted. */
export interface RowScore {
  /** -log p of the targets, nats. */
  nats: number;
  /** Targets that were the most probable. */
  correct: number;
  /** Probability of the most probable candidate: sum, least, greatest. */
  confidence: { sum: number; least: number; greatest: number };
}

export interface GradientResult extends RowScore {
  /** The weighted loss by which the gradient was taken, nats. */
  loss: number;
  /** [P], the given gradient with this row's added. */
  gradient: Float32Array;
}

export interface Trainee<R extends Row = Row> {
  readonly layout: ParameterLayout;
  /** Lays documents out in rows. */
  rows(documents: readonly Document[]): R[];
  /** Makes ready to train on these rows. */
  prepare(rows: readonly R[]): Promise<void>;
  /** Called before each step: lets what is drawn at random be drawn anew. */
  beginStep(random: () => number): void;
  /**
   * Gradient of scale * (sum of weight * nats) over a row.
   * @param accumulated [P], added to the gradient
   */
  gradient(row: R, parameters: Float32Array, accumulated: Float32Array, scale: number): Promise<GradientResult>;
  /** Exact scores of a row (all candidates). */
  score(row: R, parameters: Float32Array): Promise<RowScore>;
  release(): Promise<void>;
}

/** Sums up rows of (log p of target, log p of the most probable); rows without a prediction are left out. */
export function scoreRows(
  picked: ArrayLike<number>,
  best: ArrayLike<number>,
  hasPrediction: (row: number) => boolean,
): RowScore {
  const score: RowScore = { nats: 0, correct: 0, confidence: { sum: 0, least: 1, greatest: 0 } };
  for (let row = 0; row < picked.length; row++) {
    if (!hasPrediction(row)) continue;
    score.nats -= picked[row];
    if (picked[row] === best[row]) score.correct++;
    const confidence = Math.exp(best[row]);
    score.confidence.sum += confidence;
    score.confidence.least = Math.min(score.confidence.least, confidence);
    score.confidence.greatest = Math.max(score.confidence.greatest, confidence);
  }
  return score;
}
