/**
 * The training loop: steps over rows in a new order each epoch, the learning rate by the share of the time that is over,
 * held-out scores now and then; the best parameters so far are kept. It can be interrupted after any step and go on from
 * its state.
 */
import { createRandom } from "../generation/random";
import type { AdamW } from "./optimizer";
import { type OptimizerState, rateAt } from "./optimizer";
import type { Row, RowScore, Trainee } from "./trainee";

export interface TrainOptions {
  /** Steps after which training ends, whatever the time; null where the time decides. */
  steps: number | null;
  /** Peak learning rate. */
  rate: number;
  /** Share of the time over which the rate rises. */
  warmup: number;
  /** Rows whose gradients are added up for one step. */
  rowsPerStep: number;
  /** Held-out scores in a row without a better one after which training ends. */
  patience: number;
  /** Seconds between held-out scores, and what one is expected to take. */
  scoreEvery: number;
  scoreSeconds: number;
  maxEpochs: number;
  seed: number;
}

/** Everything from which a run goes on. */
export interface TrainState {
  /** Of the latent transformer, the last ones that are trained; positions of a row. */
  layers: number;
  positions: number;
  optimizer: OptimizerState;
  best: { parameters: Float32Array; bpb: number; step: number };
  /** Bits per byte of the held-out rows before the first step. */
  startBpb: number;
  /** Seconds of training in all, and so far; pauses do not count. */
  seconds: number;
  elapsed: number;
  epoch: number;
  /** Rows of the epoch that are done. */
  position: number;
  scoresSinceBest: number;
  /** Halved each time the loss was not a number. */
  rateScale: number;
  setbacks: number;
  /** Held-out scores so far. */
  history: HistoryPoint[];
}

/** What is known at a held-out score. */
export interface HistoryPoint {
  step: number;
  seconds: number;
  epoch: number;
  /** Since the last point: mean loss in nats a prediction, and its exponential. */
  loss: number;
  perplexity: number;
  /** Share of predictions that were the most probable. */
  accuracy: number;
  trainBpb: number;
  heldOutBpb: number;
  confidence: { mean: number; least: number; greatest: number };
  rate: number;
  memoryMb: number;
}

export interface StepInfo {
  step: number;
  /** Nats a prediction. */
  loss: number;
  rate: number;
  norm: number;
  elapsed: number;
  epoch: number;
  heldOutBpb: number;
}

export type TrainEnd = "time" | "steps" | "epochs" | "patience" | "not a number" | "asked" | "cancelled";

export interface TrainHooks {
  onStep(info: StepInfo): void;
  onScore(point: HistoryPoint, state: TrainState): Promise<void>;
  /** The loss was not a number: the run is back at an earlier step, with a smaller rate. */
  onSetback(step: number): void;
  /** Waits while the run is paused; resolves at once when it is not. */
  whilePaused(): Promise<void>;
  /** Whether what was learned until now is to be judged. */
  isEnough(): boolean;
  signal: AbortSignal;
}

/** After so many losses that are not numbers in a row, the run ends. */
const MOST_SETBACKS = 3;
/** Held-out scores of a run whose number of steps is given. */
const SCORES_OF_STEPS = 6;

export async function train<R extends Row>(
  trainee: Trainee<R>,
  adam: AdamW,
  rows: { train: readonly R[]; heldOut: readonly R[] },
  options: TrainOptions,
  hooks: TrainHooks,
  state: TrainState,
): Promise<TrainEnd> {
  const random = createRandom(options.seed);
  let since = emptySums();
  let lastScore = state.elapsed;
  let good = state.optimizer;
  let mark = performance.now();
  /** Seconds since the last call, added to the time of the run. */
  const lap = () => {
    const now = performance.now();
    const seconds = (now - mark) / 1000;
    mark = now;
    state.elapsed += seconds;
    return seconds;
  };
  // What a step and a score take at present, seconds: the last ones are begun while there is time for them.
  let [stepSeconds, scoreSeconds] = [0, options.scoreSeconds];
  for (;;) {
    const order = shuffled(rows.train.length, createRandom((options.seed + 7919 * (state.epoch + 1)) >>> 0));
    while (state.position < order.length) {
      lap();
      await hooks.whilePaused();
      mark = performance.now();
      if (hooks.signal.aborted) return "cancelled";
      const indices = order.slice(state.position, state.position + options.rowsPerStep);
      const batch = indices.map((index) => rows.train[index]);
      const progress = options.steps === null ? state.elapsed / state.seconds : state.optimizer.step / options.steps;
      const rate = state.rateScale * rateAt(progress, options.rate, options.warmup);
      const taken = await step(trainee, adam, batch, state.optimizer, rate, random);
      stepSeconds = lap();
      state.position += batch.length;
      if (taken === null) {
        if (++state.setbacks >= MOST_SETBACKS) return "not a number";
        // Back to the parameters of the last held-out score, with half the rate; the rows are passed over.
        state.rateScale /= 2;
        state.optimizer = good;
        hooks.onSetback(good.step);
        continue;
      }
      state.setbacks = 0;
      state.optimizer = taken.state;
      addTo(since, taken);
      hooks.onStep({
        step: state.optimizer.step,
        loss: taken.nats / taken.predictions,
        rate,
        norm: taken.norm,
        elapsed: state.elapsed,
        epoch: state.epoch,
        heldOutBpb: state.history.at(-1)?.heldOutBpb ?? state.startBpb,
      });
      const { step: done } = state.optimizer;
      const isAsked = hooks.isEnough();
      const isOver =
        isAsked ||
        (options.steps === null ? state.elapsed + stepSeconds + scoreSeconds >= state.seconds : done >= options.steps);
      const isEpochEnd = state.position >= order.length;
      const isTime =
        options.steps === null
          ? state.elapsed - lastScore >= options.scoreEvery
          : done % Math.ceil(options.steps / SCORES_OF_STEPS) === 0;
      if (isOver || isEpochEnd || isTime) {
        lap();
        const heldOutBpb = await scoreAll(trainee, rows.heldOut, state.optimizer.parameters);
        scoreSeconds = lap();
        lastScore = state.elapsed;
        const point = pointOf(since, state, heldOutBpb, rate);
        since = emptySums();
        state.history.push(point);
        if (heldOutBpb < state.best.bpb) {
          state.best = { parameters: state.optimizer.parameters, bpb: heldOutBpb, step: state.optimizer.step };
          state.scoresSinceBest = 0;
        } else state.scoresSinceBest++;
        good = state.optimizer;
        await hooks.onScore(point, state);
        if (state.scoresSinceBest >= options.patience) return "patience";
      }
      if (isOver) return isAsked ? "asked" : options.steps === null ? "time" : "steps";
    }
    state.epoch++;
    state.position = 0;
    if (state.epoch >= options.maxEpochs) return "epochs";
  }
}

/** Bits per byte of rows, exact. */
export async function scoreAll<R extends Row>(
  trainee: Trainee<R>,
  rows: readonly R[],
  parameters: Float32Array,
): Promise<number> {
  let [nats, bytes] = [0, 0];
  for (const row of rows) {
    nats += (await trainee.score(row, parameters)).nats;
    bytes += row.bytes;
  }
  return nats / Math.LN2 / bytes;
}

interface StepResult extends RowScore {
  state: OptimizerState;
  norm: number;
  predictions: number;
  bytes: number;
}

/** One step of the optimizer; null when the loss or the gradient is not a number. */
async function step<R extends Row>(
  trainee: Trainee<R>,
  adam: AdamW,
  batch: readonly R[],
  optimizer: OptimizerState,
  rate: number,
  random: () => number,
): Promise<StepResult | null> {
  trainee.beginStep(random);
  const weight = batch.reduce((sum, row) => sum + row.weight, 0);
  let gradient: Float32Array = new Float32Array(optimizer.parameters.length);
  const sums = emptySums();
  for (const row of batch) {
    const result = await trainee.gradient(row, optimizer.parameters, gradient, 1 / weight);
    if (!Number.isFinite(result.loss)) return null;
    gradient = result.gradient;
    addTo(sums, { ...result, predictions: row.predictions, bytes: row.bytes });
  }
  const { state, norm } = await adam.step(optimizer, gradient, rate);
  return Number.isFinite(norm) ? { ...sums, state, norm } : null;
}

interface Sums extends RowScore {
  predictions: number;
  bytes: number;
}

function emptySums(): Sums {
  return { nats: 0, correct: 0, predictions: 0, bytes: 0, confidence: { sum: 0, least: 1, greatest: 0 } };
}

function addTo(sums: Sums, more: Sums): void {
  sums.nats += more.nats;
  sums.correct += more.correct;
  sums.predictions += more.predictions;
  sums.bytes += more.bytes;
  sums.confidence.sum += more.confidence.sum;
  sums.confidence.least = Math.min(sums.confidence.least, more.confidence.least);
  sums.confidence.greatest = Math.max(sums.confidence.greatest, more.confidence.greatest);
}

function pointOf(sums: Sums, state: TrainState, heldOutBpb: number, rate: number): HistoryPoint {
  const predictions = Math.max(1, sums.predictions);
  const loss = sums.nats / predictions;
  return {
    step: state.optimizer.step,
    seconds: state.elapsed,
    epoch: state.epoch + (state.position > 0 ? 1 : 0),
    loss,
    perplexity: Math.exp(loss),
    accuracy: sums.correct / predictions,
    trainBpb: sums.nats / Math.LN2 / Math.max(1, sums.bytes),
    heldOutBpb,
    confidence: {
      mean: sums.confidence.sum / predictions,
      least: sums.confidence.least,
      greatest: sums.confidence.greatest,
    },
    rate,
    memoryMb: Math.round(process.memoryUsage().rss / 1e6),
  };
}

function shuffled(count: number, random: () => number): number[] {
  const order = Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const other = Math.floor(random() * (i + 1));
    [order[i], order[other]] = [order[other], order[i]];
  }
  return order;
}
