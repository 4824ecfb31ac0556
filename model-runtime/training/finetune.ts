/**
 * Fine-tuning from beginning to end: read the texts, score the base model, train, judge, keep the adapter or discard it.
 * May be killed at any moment: started again with the same settings it goes on from its last state.
 */
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { writeTextFile } from "../checkpoint/write-safetensors";
import type { ResolvedDevice } from "../device";
import { UserError } from "../errors";
import { createRandom } from "../generation/random";
import { openModel } from "../model/load-model";
import type { FilesExclude } from "../workspace/ignore-rules";
import { summarySentence } from "../workspace/read-workspace";
import { removeAdapter, writeAdapter } from "./adapter-file";
import { collapseOf, continuations } from "./collapse";
import { type Dataset, type DatasetStatistics, readDataset, statisticsOf } from "./dataset";
import { fingerprint } from "./fingerprint";
import { generalSample } from "./general-sample";
import { type Kit, kitFor } from "./kit";
import { initialParameters, lowRankOf } from "./low-rank-parameters";
import { isOutOfMemory, loadFitting } from "./memory";
import { AdamW, defaultAdam, initialState } from "./optimizer";
import { type Report, reportName } from "./report-file";
import { clearRun, loadSettings, loadState, saveSettings, saveState, takeFolder } from "./run-files";
import {
  type HistoryPoint,
  type StepInfo,
  scoreAll,
  type TrainEnd,
  type TrainOptions,
  type TrainState,
  train,
} from "./train";
import type { Document, Row, Trainee } from "./trainee";
import { judge, type Scored, scoreDocuments, type Verdict } from "./verdict";

export interface FineTuneOptions {
  /** Folder of the workspace. */
  root: string;
  /** Folder for the adapter, its report, and the run while it goes on. */
  out: string;
  /** Folder of the base model. */
  model: string;
  /** Time for everything. */
  minutes: number;
  /** Steps after which training ends, whatever the time; null where the time decides. */
  steps: number | null;
  rank: number;
  alpha: number;
  /** Peak learning rate. */
  rate: number;
  seed: number;
  /** Kinds of layers that are adapted. */
  targets: readonly string[];
  /** How many of the latent's last layers are trained; chosen by a short measurement when null. */
  layers: number | null;
  labelSmoothing: number;
  filesExclude: FilesExclude;
  /** Folders that are left out. */
  without: readonly string[];
  device: ResolvedDevice;
  threads?: number;
}

export type Phase = "reading" | "loading" | "scoring" | "training" | "judging";

export type FineTuneEvent =
  | { type: "phase"; phase: Phase; fraction: number }
  | { type: "notice"; sentence: string }
  | { type: "data"; train: DatasetStatistics; heldOut: DatasetStatistics; summary: string }
  | ({ type: "step"; secondsLeft: number } & StepInfo)
  | ({ type: "score"; startBpb: number } & HistoryPoint);

export interface FineTuneHooks {
  onEvent(event: FineTuneEvent): void;
  signal: AbortSignal;
  whilePaused(): Promise<void>;
}

const runFolderName = "run";
/** Bytes of text that are read at most for a minute of time: more could not be seen once. */
const BYTES_PER_MINUTE = 120_000;
/** Share of the time for scoring held-out text, once before and once after. */
const SCORING_SHARE = 0.08;
const ROWS_PER_STEP = 2;

/** Runs to the end; `null` when it was cancelled (the run can then go on later). */
export async function fineTune(options: FineTuneOptions, hooks: FineTuneHooks): Promise<Report | null> {
  const root = resolve(options.root);
  const folder = join(resolve(options.out), runFolderName);
  mkdirSync(resolve(options.out), { recursive: true });
  const release = takeFolder(folder);
  try {
    return await run({ ...options, root }, folder, hooks);
  } finally {
    release();
  }
}

async function run(options: FineTuneOptions, folder: string, hooks: FineTuneHooks): Promise<Report | null> {
  const started = performance.now();
  const { onEvent, signal } = hooks;
  const phase = (name: Phase, fraction: number) => onEvent({ type: "phase", phase: name, fraction });
  phase("reading", 0);
  const checkpoint = openModel(options.model);
  const kit = kitFor(checkpoint);
  const base = fingerprint(checkpoint);
  const dataset = await readDataset(options.root, {
    maxBytes: Math.max(200_000, options.minutes * BYTES_PER_MINUTE),
    filesExclude: options.filesExclude,
    without: options.without,
    signal,
  });
  const [trainStatistics, heldOutStatistics] = [statisticsOf(dataset.train), statisticsOf(dataset.heldOut)];
  onEvent({
    type: "data",
    train: trainStatistics,
    heldOut: heldOutStatistics,
    summary: summarySentence(dataset.summary),
  });

  const settings = settingsOf(options, base);
  const earlier = loadSettings(folder);
  const continues = earlier !== null && JSON.stringify(earlier) === JSON.stringify(settings);
  if (earlier !== null && !continues)
    onEvent({ type: "notice", sentence: "An unfinished run with other settings was found and is replaced." });
  if (!continues) {
    clearRun(folder);
    await saveSettings(folder, settings);
  }

  phase("scoring", 0);
  const judged = await scoreBase(kit, dataset, options, signal, (fraction) => phase("scoring", fraction));
  // What scoring took before training it takes again after it.
  const overhead = 2 * ((performance.now() - started) / 1000);
  const seconds = Math.max(options.minutes * 30, options.minutes * 60 - overhead);

  phase("loading", 0);
  const { trainee, shape } = await loadFitting(kit, options, dataset, seconds, (sentence) =>
    onEvent({ type: "notice", sentence }),
  );
  const outcome = await trainAdapter(trainee, dataset, options, seconds, folder, continues, hooks);
  await trainee.release();
  if (outcome === null) return null;

  phase("judging", 0);
  const { state, end } = outcome;
  const lowRank = lowRankOf(trainee.layout, state.best.parameters);
  const verdict = await judgeAdapter(kit, judged, lowRank, options, signal, (fraction) => phase("judging", fraction));
  const report: Report = {
    date: new Date().toISOString(),
    root: options.root,
    without: options.without,
    filesExclude: options.filesExclude,
    verdict,
    end,
    seconds: (performance.now() - started) / 1000,
    steps: state.optimizer.step,
    ...shape,
    peakMemoryMb: Math.round(process.resourceUsage().maxRSS / 1000),
    bytesPerSecond: outcome.bytesPerSecond,
    train: trainStatistics,
    heldOut: heldOutStatistics,
    history: state.history,
  };
  await keepOrDiscard(options.out, kit, lowRank, base, report);
  clearRun(folder);
  return report;
}

/** Settings that a run must share with an earlier one to go on with it. */
function settingsOf(options: FineTuneOptions, base: string): Record<string, unknown> {
  const { root, minutes, steps, rank, alpha, rate, seed, targets, layers, labelSmoothing, without } = options;
  return { base, root, minutes, steps, rank, alpha, rate, seed, targets, layers, labelSmoothing, without };
}

/** What the verdict compares with. */
interface Judged {
  heldOut: Document[];
  before: Scored[];
  general: Document[];
  generalBefore: Scored[];
  written: Uint8Array[];
  prompts: Uint8Array[];
}

async function scoreBase(
  kit: Kit,
  dataset: Dataset,
  options: FineTuneOptions,
  signal: AbortSignal,
  onProgress: (fraction: number) => void,
): Promise<Judged> {
  const scorer = await kit.scorer(null, options);
  const whole = generalSample();
  const began = performance.now();
  const first = await scoreDocuments(scorer, whole.slice(0, 1), { signal });
  const speed = first[0].document.bytes.length / ((performance.now() - began) / 1000);
  const affordable = speed * options.minutes * 60 * SCORING_SHARE;
  const general = fitting(whole, affordable / 2);
  const generalBefore = await scoreDocuments(scorer, general, { signal });
  onProgress(0.4);
  const heldOut = fitting(dataset.heldOut, affordable);
  const before = await scoreDocuments(scorer, heldOut, { signal });
  await scorer.release();
  onProgress(0.8);
  // Short runs are guarded by one text, longer ones by three.
  const prompts = heldOut
    .slice(0, options.minutes < 5 ? 1 : 3)
    .map(({ bytes }) => bytes.subarray(0, Math.min(400, bytes.length >> 1)));
  const model = await kit.textModel(null, options);
  const written = await continuations(model, prompts, signal);
  await model.release();
  return { heldOut, before, general, generalBefore, written, prompts };
}

/** Beginnings of all documents, shortened to a common length where they are too many bytes to be scored. */
function fitting(documents: readonly Document[], mostBytes: number): Document[] {
  let [low, high] = [500, Math.max(500, ...documents.map(({ bytes }) => bytes.length))];
  const sum = (length: number) => documents.reduce((total, { bytes }) => total + Math.min(length, bytes.length), 0);
  while (high - low > 100) {
    const middle = (low + high) / 2;
    if (sum(middle) > mostBytes) high = middle;
    else low = middle;
  }
  let left = Math.max(mostBytes, 4000);
  const chosen: Document[] = [];
  for (const document of documents) {
    if (left <= 0) break;
    const bytes = document.bytes.subarray(0, Math.ceil(high));
    chosen.push({ ...document, bytes });
    left -= bytes.length;
  }
  return chosen;
}

async function trainAdapter(
  trainee: Trainee,
  dataset: Dataset,
  options: FineTuneOptions,
  seconds: number,
  folder: string,
  continues: boolean,
  { onEvent, signal, whilePaused }: FineTuneHooks,
): Promise<{ state: TrainState; end: TrainEnd; bytesPerSecond: number } | null> {
  const trainRows = trainee.rows(dataset.train);
  const allHeldOut = trainee.rows(dataset.heldOut);
  const adam = await AdamW.load(trainee.layout.size, defaultAdam, options);
  onEvent({ type: "phase", phase: "training", fraction: 0 });
  const found = continues ? loadState(folder, trainee.layout.size) : null;
  if (found !== null) onEvent({ type: "notice", sentence: `Going on from step ${found.optimizer.step}.` });
  // Scores along the way take about a tenth of the time: one row at least, more while they are quick.
  const parameters = initialParameters(trainee.layout, createRandom(options.seed));
  const scoreEvery = Math.max(seconds / 12, Math.min(10, seconds / 4));
  const heldOut: Row[] = [];
  const began = performance.now();
  while (heldOut.length < allHeldOut.length) {
    if (heldOut.length > 0 && (performance.now() - began) / 1000 > scoreEvery / 6) break;
    const row = allHeldOut[heldOut.length];
    await trainee.score(row, found?.optimizer.parameters ?? parameters);
    heldOut.push(row);
  }
  const startBpb = found?.startBpb ?? (await scoreAll(trainee, heldOut, parameters));
  const state: TrainState = found ?? {
    optimizer: initialState(parameters),
    best: { parameters, bpb: startBpb, step: 0 },
    startBpb,
    elapsed: 0,
    epoch: 0,
    position: 0,
    scoresSinceBest: 0,
    rateScale: 1,
    setbacks: 0,
    history: [],
  };
  const rowBytes = trainRows.reduce((sum, { bytes }) => sum + bytes, 0) / trainRows.length;
  const firstStep = state.optimizer.step;
  const trainOptions: TrainOptions = {
    seconds,
    steps: options.steps,
    rate: options.rate,
    warmup: 0.06,
    rowsPerStep: Math.min(ROWS_PER_STEP, trainRows.length),
    patience: 4,
    scoreEvery,
    maxEpochs: 12,
    seed: options.seed,
  };
  const firstElapsed = state.elapsed;
  const end = await train(
    trainee,
    adam,
    { train: trainRows, heldOut },
    trainOptions,
    {
      onStep: (info) => onEvent({ type: "step", ...info, secondsLeft: Math.max(0, seconds - info.elapsed) }),
      onScore: async (point) => {
        onEvent({ type: "score", ...point, startBpb: state.startBpb });
        await saveState(folder, state);
      },
      whilePaused,
      signal,
    },
    state,
  );
  await adam.release();
  if (end === "cancelled") {
    await saveState(folder, state);
    return null;
  }
  if (end === "not a number")
    onEvent({
      type: "notice",
      sentence:
        "The loss was not a number three times in a row, also with a smaller rate; training stopped, and the best parameters before that are judged.",
    });
  const taken = (state.optimizer.step - firstStep) * trainOptions.rowsPerStep * rowBytes;
  return { state, end, bytesPerSecond: taken / Math.max(1e-3, state.elapsed - firstElapsed) };
}

async function judgeAdapter(
  kit: Kit,
  judged: Judged,
  lowRank: ReturnType<typeof lowRankOf>,
  options: FineTuneOptions,
  signal: AbortSignal,
  onProgress: (fraction: number) => void,
): Promise<Verdict> {
  const scorer = await kit.scorer(lowRank, options);
  const after = await scoreDocuments(scorer, judged.heldOut, { signal });
  onProgress(0.5);
  const generalAfter = await scoreDocuments(scorer, judged.general, { signal });
  await scorer.release();
  onProgress(0.8);
  const model = await kit.textModel(lowRank, options);
  const written = await continuations(model, judged.prompts, signal);
  await model.release();
  return judge(
    { before: judged.before, after },
    { before: judged.generalBefore, after: generalAfter },
    collapseOf(judged.written, written),
    options.seed,
  );
}

async function keepOrDiscard(
  out: string,
  kit: Kit,
  lowRank: ReturnType<typeof lowRankOf>,
  base: string,
  report: Report,
): Promise<void> {
  const { verdict } = report;
  removeAdapter(out);
  await writeTextFile(join(out, reportName), `${JSON.stringify(report, null, 2)}\n`);
  if (!verdict.isUsed) return;
  const { heldOut, general } = verdict;
  const card = {
    base,
    date: report.date,
    files: report.train.files,
    bytes: report.train.bytes,
    heldOut: heldOut.bpb,
    general: general.bpb,
    exactMatch: { before: heldOut.exactMatch.before, after: heldOut.exactMatch.after },
  };
  await writeAdapter(out, { lowRank, card }, kit.base);
}

/** What the person reads of an error that ended a run; null for a defect. */
export function runErrorSentence(error: unknown): string | null {
  if (error instanceof UserError) return error.message;
  if (isOutOfMemory(error))
    return "There is not enough memory for fine-tuning, even with the smallest batch; close other programs and start again.";
  return null;
}
