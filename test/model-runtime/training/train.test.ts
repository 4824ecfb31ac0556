import assert from "node:assert/strict";
import { AdamW, defaultAdam, initialState } from "../../../model-runtime/training/optimizer";
import { type HistoryPoint, type TrainHooks, type TrainState, train } from "../../../model-runtime/training/train";
import type { GradientResult, Row, Trainee } from "../../../model-runtime/training/trainee";

const target = [1, -2];
const confidence = { sum: 1, least: 0.5, greatest: 0.5 };
const row = (): Row => ({ bytes: 10, predictions: 2, weight: 2 });

/** Learns two numbers; its loss is no number where `isBroken` says so. */
function traineeFor(isBroken: (gradient: number) => boolean = () => false): Trainee & { gradients: number } {
  const nats = (parameters: Float32Array) => target.reduce((sum, value, i) => sum + (parameters[i] - value) ** 2, 0);
  const trainee = {
    layout: { rank: 1, alpha: 1, places: [], size: 2 },
    gradients: 0,
    rows: () => [],
    prepare: async () => undefined,
    beginStep: () => undefined,
    async gradient(_row: Row, parameters: Float32Array, accumulated: Float32Array): Promise<GradientResult> {
      const loss = isBroken(trainee.gradients++) ? Number.NaN : nats(parameters);
      const gradient = accumulated.map((value, i) => value + 2 * (parameters[i] - target[i]));
      return { loss, nats: loss, correct: 1, confidence, gradient };
    },
    score: async (_row: Row, parameters: Float32Array) => ({ nats: nats(parameters), correct: 1, confidence }),
    release: async () => undefined,
  };
  return trainee;
}

describe("training", () => {
  let adam: AdamW;
  before(async () => {
    adam = await AdamW.load(2, defaultAdam, { device: "cpu", threads: 1 });
  });
  after(() => adam.release());

  const options = {
    steps: 40 as number | null,
    rate: 0.1,
    warmup: 0.06,
    rowsPerStep: 2,
    patience: 4,
    scoreEvery: 1000,
    scoreSeconds: 0,
    maxEpochs: 1000,
    seed: 0,
  };

  function stateFor(seconds = 1e6): TrainState {
    const parameters = new Float32Array(2);
    return {
      layers: 1,
      positions: 1,
      optimizer: initialState(parameters),
      best: { parameters, bpb: Number.POSITIVE_INFINITY, step: 0 },
      startBpb: 1,
      seconds,
      elapsed: 0,
      epoch: 0,
      position: 0,
      scoresSinceBest: 0,
      rateScale: 1,
      setbacks: 0,
      history: [],
    };
  }

  function hooksFor(
    change: Partial<TrainHooks> = {},
  ): TrainHooks & { points: HistoryPoint[]; setbacks: number[]; rates: number[] } {
    const hooks = {
      points: [] as HistoryPoint[],
      setbacks: [] as number[],
      rates: [] as number[],
      onStep: ({ rate }: { rate: number }) => void hooks.rates.push(rate),
      onScore: async (point: HistoryPoint) => void hooks.points.push(point),
      onSetback: (step: number) => void hooks.setbacks.push(step),
      whilePaused: async () => undefined,
      isEnough: () => false,
      signal: new AbortController().signal,
      ...change,
    };
    return hooks;
  }

  const rows = (count: number) => ({ train: Array.from({ length: count }, row), heldOut: [row()] });

  it("comes nearer, and keeps the best", async () => {
    const [state, hooks] = [stateFor(), hooksFor()];
    assert.equal(await train(traineeFor(), adam, rows(8), { ...options, patience: 99 }, hooks, state), "steps");
    assert.equal(state.optimizer.step, 40);
    const scores = hooks.points.map(({ heldOutBpb }) => heldOutBpb);
    assert.ok(scores.at(-1)! < scores[0] / 4, `${scores}`);
    assert.equal(state.best.bpb, Math.min(...scores));
  });

  it("steps back from a loss that is no number, with half the rate, and says so", async () => {
    const [state, hooks] = [stateFor(), hooksFor()];
    // The first row of the ninth step.
    const trainee = traineeFor((gradient) => gradient === 16);
    assert.equal(await train(trainee, adam, rows(8), options, hooks, state), "steps");
    assert.deepEqual(hooks.setbacks, [8]);
    assert.equal(state.rateScale, 0.5);
    assert.equal(state.setbacks, 0);
    assert.ok(state.best.parameters.every(Number.isFinite));
  });

  it("stops after the third in a row, with the best parameters before that", async () => {
    const [state, hooks] = [stateFor(), hooksFor()];
    const trainee = traineeFor((gradient) => gradient >= 16);
    assert.equal(await train(trainee, adam, rows(8), options, hooks, state), "not a number");
    assert.equal(hooks.setbacks.length, 2);
    assert.equal(state.rateScale, 0.25);
    assert.equal(state.best.step, 8);
    assert.ok(state.best.parameters.every(Number.isFinite));
  });

  it("begins no step for which there is no time, held-out score included", async () => {
    const [state, hooks] = [stateFor(30), hooksFor()];
    const end = await train(traineeFor(), adam, rows(8), { ...options, steps: null, scoreSeconds: 1e6 }, hooks, state);
    assert.deepEqual([end, state.optimizer.step, hooks.points.length], ["time", 1, 1]);
  });

  it("ends when it is enough, with a score; when it is cancelled, without one", async () => {
    const [state, hooks] = [stateFor(), hooksFor({ isEnough: () => true })];
    assert.equal(await train(traineeFor(), adam, rows(8), options, hooks, state), "asked");
    assert.deepEqual([state.optimizer.step, hooks.points.length], [1, 1]);
    const cancelled = hooksFor({ signal: AbortSignal.abort() });
    assert.equal(await train(traineeFor(), adam, rows(8), options, cancelled, state), "cancelled");
    assert.deepEqual([state.optimizer.step, cancelled.points.length], [1, 0]);
  });

  it("ends when held-out text gains no more", async () => {
    const state = stateFor();
    state.best = { ...state.best, bpb: -1 };
    assert.equal(await train(traineeFor(), adam, rows(2), options, hooksFor(), state), "patience");
    assert.equal(state.optimizer.step, 4);
  });
});
