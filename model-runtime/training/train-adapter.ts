/** The training of one run: its rows, its state, its checkpoints on disk. */
import { UserError } from "../errors";
import { createRandom } from "../generation/random";
import type { SessionOptions } from "../session";
import type { Dataset } from "./dataset";
import type { FineTuneHooks } from "./finetune-hooks";
import { initialParameters } from "./low-rank-parameters";
import type { Shape } from "./memory";
import { AdamW, defaultAdam, initialState } from "./optimizer";
import { saveState } from "./run-files";
import { scoreAll, type TrainEnd, type TrainState, train } from "./train";
import type { Row, Trainee } from "./trainee";

export interface TrainAdapterOptions extends SessionOptions {
  steps: number | null;
  rate: number;
  seed: number;
}

export interface Outcome {
  state: TrainState;
  end: TrainEnd;
  /** Bytes of text learned from a second of training. */
  bytesPerSecond: number;
}

const ROWS_PER_STEP = 2;
/** Held-out scores of a run; each takes at most this share of the time between them. */
const SCORES = 12;
const SCORE_SHARE = 1 / 6;

/**
 * Trains to the end; null when it was cancelled, with its state kept.
 * @param run its folder; the state from which it goes on, null for a new one; the seconds that a new one has
 */
export async function trainAdapter(
  { trainee, shape }: { trainee: Trainee; shape: Shape },
  dataset: Dataset,
  options: TrainAdapterOptions,
  run: { folder: string; earlier: TrainState | null; left(): number },
  hooks: FineTuneHooks,
): Promise<Outcome | null> {
  const { onEvent, signal, whilePaused, isEnough } = hooks;
  const notice = (sentence: string) => onEvent({ type: "notice", sentence });
  const trainRows = trainee.rows(dataset.train);
  const adam = await AdamW.load(trainee.layout.size, defaultAdam, options);
  const earlier = run.earlier?.optimizer.parameters.length === trainee.layout.size ? run.earlier : null;
  if (earlier !== null) notice(`Going on from step ${earlier.optimizer.step}.`);
  const parameters = initialParameters(trainee.layout, createRandom(options.seed));
  const scoreEvery = Math.max(run.left() / SCORES, Math.min(10, run.left() / 4));
  const { heldOut, scoreSeconds } = await heldOutRows(trainee, dataset, parameters, scoreEvery * SCORE_SHARE);
  const startBpb = earlier?.startBpb ?? (await scoreAll(trainee, heldOut, parameters));
  const state: TrainState = earlier ?? {
    ...shape,
    optimizer: initialState(parameters),
    best: { parameters, bpb: startBpb, step: 0 },
    startBpb,
    seconds: run.left(),
    elapsed: 0,
    epoch: 0,
    position: 0,
    scoresSinceBest: 0,
    rateScale: 1,
    setbacks: 0,
    history: [],
  };
  const [firstStep, firstElapsed] = [state.optimizer.step, state.elapsed];
  const rowsPerStep = Math.min(ROWS_PER_STEP, trainRows.length);
  const secondsLeft = (elapsed: number) => Math.max(0, state.seconds - elapsed);
  const keep = keeper(run.folder, state, notice);
  const end = await train(
    trainee,
    adam,
    { train: trainRows, heldOut },
    {
      steps: options.steps,
      rate: options.rate,
      warmup: 0.06,
      rowsPerStep,
      patience: 4,
      scoreEvery,
      scoreSeconds,
      maxEpochs: 12,
      seed: options.seed,
    },
    {
      onStep: (info) => onEvent({ type: "step", ...info, startBpb, secondsLeft: secondsLeft(info.elapsed) }),
      async onScore(point) {
        onEvent({ type: "score", ...point, startBpb, secondsLeft: secondsLeft(point.seconds) });
        await keep();
      },
      onSetback: (step) => notice(`The loss was not a number; going on from step ${step} with half the learning rate.`),
      whilePaused,
      isEnough,
      signal,
    },
    state,
  );
  await adam.release();
  if (end === "cancelled") {
    await keep();
    return null;
  }
  if (end === "not a number")
    notice(
      "The loss was not a number three times in a row, also with a smaller rate; training stopped, and the best parameters before that are judged.",
    );
  const rowBytes = trainRows.reduce((sum, { bytes }) => sum + bytes, 0) / trainRows.length;
  const taken = (state.optimizer.step - firstStep) * rowsPerStep * rowBytes;
  return { state, end, bytesPerSecond: taken / Math.max(1e-3, state.elapsed - firstElapsed) };
}

/** The held-out rows that are scored along the way, as many as the time allows, at least one; and what that takes. */
async function heldOutRows(
  trainee: Trainee,
  dataset: Dataset,
  parameters: Float32Array,
  seconds: number,
): Promise<{ heldOut: Row[]; scoreSeconds: number }> {
  const all = trainee.rows(dataset.heldOut);
  const began = performance.now();
  const taken = () => (performance.now() - began) / 1000;
  const heldOut: Row[] = [];
  while (heldOut.length < all.length && (heldOut.length === 0 || taken() < seconds)) {
    await trainee.score(all[heldOut.length], parameters);
    heldOut.push(all[heldOut.length]);
  }
  return { heldOut, scoreSeconds: taken() };
}

/** Saves the state; where the disk does not let it, training goes on, and that is said once. */
function keeper(folder: string, state: TrainState, notice: (sentence: string) => void): () => Promise<void> {
  let isTold = false;
  return async () => {
    try {
      await saveState(folder, state);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      if (!isTold)
        notice(
          `The state of the run could not be written to ${folder} (is the disk full?); training goes on, but could not be taken up again if it were cut off now.`,
        );
      isTold = true;
    }
  };
}
