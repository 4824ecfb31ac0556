/**
 * Fine-tuning from beginning to end: read the texts, score the base model, train, judge, keep the adapter or discard it.
 * May be killed at any moment: started again with the same settings it goes on from its last state.
 */
import { join, resolve } from "node:path";
import { makeFolder, writeTextFile } from "../checkpoint/write-safetensors";
import type { ResolvedDevice } from "../device";
import { UserError } from "../errors";
import { openModel } from "../model/load-model";
import type { FilesExclude } from "../workspace/ignore-rules";
import { summarySentence } from "../workspace/read-workspace";
import { removeAdapter, writeAdapter } from "./adapter-file";
import { readDataset, statisticsOf } from "./dataset";
import type { FineTuneHooks, Phase } from "./finetune-hooks";
import { fingerprint } from "./fingerprint";
import { judgeAdapter, measureBase } from "./judge-adapter";
import { type Kit, kitFor } from "./kit";
import { lowRankOf } from "./low-rank-parameters";
import { isOutOfMemory, loadFitting } from "./memory";
import { type Report, reportName } from "./report-file";
import { clearRun, loadSettings, loadState, saveSettings, takeFolder } from "./run-files";
import { Stopwatch } from "./stopwatch";
import type { TrainState } from "./train";
import { trainAdapter } from "./train-adapter";

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

/** In the folder of an adapter: the state of a run that is not done. */
export const runFolderName = "run";
/** Bytes of text that are read at most for a minute of time: more could not be seen once. */
const BYTES_PER_MINUTE = 120_000;
/** Share of the time that training gets even where measuring takes long. */
const LEAST_TRAINING_SHARE = 0.4;

/** Runs to the end; `null` when it was cancelled (the run can then go on later). */
export async function fineTune(options: FineTuneOptions, hooks: FineTuneHooks): Promise<Report | null> {
  const root = resolve(options.root);
  const folder = join(resolve(options.out), runFolderName);
  makeFolder(resolve(options.out));
  const release = takeFolder(folder);
  try {
    return await run({ ...options, root }, folder, hooks);
  } finally {
    release();
  }
}

async function run(options: FineTuneOptions, folder: string, hooks: FineTuneHooks): Promise<Report | null> {
  const time = new Stopwatch();
  const { onEvent, signal } = hooks;
  const whilePaused = () => time.pauseFor(hooks.whilePaused());
  const judging = (phase: Phase) => ({
    onProgress: (fraction: number) => onEvent({ type: "phase", phase, fraction }),
    whilePaused,
    signal,
  });
  const begin = (phase: Phase) => onEvent({ type: "phase", phase, fraction: 0 });
  begin("reading");
  const checkpoint = openModel(options.model);
  const kit = kitFor(checkpoint);
  const base = fingerprint(checkpoint);
  const dataset = await readDataset(options.root, {
    maxBytes: mostBytes(options.minutes),
    filesExclude: options.filesExclude,
    without: options.without,
    signal,
  });
  const [train, heldOut] = [statisticsOf(dataset.train), statisticsOf(dataset.heldOut)];
  onEvent({ type: "data", train, heldOut, summary: summarySentence(dataset.summary) });
  const earlier = await takeUp(folder, settingsOf(options, base), onEvent);

  begin("scoring");
  const judged = await measureBase(kit, dataset, options, judging("scoring"));

  begin("loading");
  // What was measured before training is measured again after it.
  const whole = options.minutes * 60;
  const left = () => Math.max(whole * LEAST_TRAINING_SHARE, whole - time.seconds - judged.seconds);
  const shape = earlier === null ? null : { layers: earlier.layers, positions: earlier.positions };
  const loaded = await loadFitting(kit, options, dataset, left(), shape, (sentence) =>
    onEvent({ type: "notice", sentence }),
  );
  begin("training");
  const outcome = await trainAdapter(loaded, dataset, options, { folder, earlier, left }, { ...hooks, whilePaused });
  await loaded.trainee.release();
  if (outcome === null) return null;

  begin("judging");
  const { state, end, bytesPerSecond } = outcome;
  const lowRank = lowRankOf(loaded.trainee.layout, state.best.parameters);
  const verdict = await judgeAdapter(kit, judged, lowRank, options, judging("judging"));
  const report: Report = {
    date: new Date().toISOString(),
    root: options.root,
    without: options.without,
    filesExclude: options.filesExclude,
    verdict,
    end,
    seconds: time.seconds,
    steps: state.optimizer.step,
    ...loaded.shape,
    peakMemoryMb: Math.round(process.resourceUsage().maxRSS / 1000),
    bytesPerSecond,
    train,
    heldOut,
    history: state.history,
  };
  await keepOrDiscard(options.out, kit, lowRank, base, report);
  clearRun(folder);
  return report;
}

/** The state of an unfinished run with the same settings; null when a run begins, and what another one left is removed. */
async function takeUp(
  folder: string,
  settings: Record<string, unknown>,
  onEvent: FineTuneHooks["onEvent"],
): Promise<TrainState | null> {
  const earlier = loadSettings(folder);
  if (earlier !== null && JSON.stringify(earlier) === JSON.stringify(settings)) return loadState(folder);
  if (earlier !== null)
    onEvent({ type: "notice", sentence: "An unfinished run with other settings was found and is replaced." });
  clearRun(folder);
  await saveSettings(folder, settings);
  return null;
}

/** Bytes of text that are read at most for a run of so many minutes. */
export function mostBytes(minutes: number): number {
  return Math.max(200_000, minutes * BYTES_PER_MINUTE);
}

/** Settings that a run must share with an earlier one to go on with it. */
function settingsOf(options: FineTuneOptions, base: string): Record<string, unknown> {
  const { device, threads, model, out, ...rest } = options;
  return { base, ...rest };
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
