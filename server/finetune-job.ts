/**
 * The run as the server sees it: one process, whose events become a `RunState`. Pausing, also on battery; finishing early;
 * cancelling; taking up what was cut off.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { runFolderName } from "../model-runtime/training/finetune";
import type { Phase } from "../model-runtime/training/finetune-hooks";
import type { Report } from "../model-runtime/training/report-file";
import { unfinishedRun } from "../model-runtime/training/run-files";
import type { FilesExclude } from "../model-runtime/workspace/ignore-rules";
import type { Adapters } from "./adapters";
import type { ControlParams, FromProcess, RunningState, RunState, StartParams, ToProcess } from "./finetune-protocol";
import { RunCurve } from "./run-curve";

/** What is needed of a `ChildProcess`. */
export interface ChildLike {
  send(message: ToProcess): unknown;
  kill(signal: "SIGKILL"): unknown;
  disconnect(): void;
  readonly connected: boolean;
  on(event: "message", listener: (message: FromProcess) => void): unknown;
  on(event: "exit", listener: (code: number | null, signal: string | null) => void): unknown;
}

/** What the process needs besides what the user chose. */
export type Base = Pick<
  Extract<ToProcess, { type: "start" }>,
  "model" | "device" | "threads" | "lockFolder" | "priority"
>;

export interface JobOptions {
  fork(): ChildLike;
  adapters: Pick<Adapters, "runFolder" | "adopt">;
  isOnBattery(): boolean;
  onState(state: RunState): void;
  /** A run has left an adapter that is better. */
  onAdapter(id: string): void;
  log(line: string): void;
  /** How often the power supply is looked at, ms. */
  batteryMs?: number;
}

const BATTERY_MS = 20_000;
const MOST_NOTICES = 5;

export class FineTuneJob {
  private child: ChildLike | null = null;
  private running: RunningState | null = null;
  private curve = new RunCurve();
  private stateNow: RunState;
  /** Set by the last message of the process. */
  private outcome: RunState | null = null;
  private mayUseBattery = false;
  private batteryTimer: NodeJS.Timeout | undefined;

  constructor(private readonly options: JobOptions) {
    this.stateNow = this.unfinished() ?? { kind: "none" };
  }

  get state(): RunState {
    return this.stateNow;
  }

  /** Begins a run; a sentence when that is not possible. */
  start(params: StartParams, base: Base): string | null {
    if (this.child !== null) return "Fine-tuning goes on already; wait until it is done, or cancel it first.";
    const { folder, filesExclude, without, minutes } = params;
    const child = this.options.fork();
    this.child = child;
    this.curve = new RunCurve();
    this.outcome = null;
    this.mayUseBattery = false;
    this.running = {
      kind: "running",
      folder,
      phase: "reading",
      fraction: 0,
      pausedBy: null,
      progress: null,
      curve: this.curve.points,
      notices: [],
    };
    child.on("message", (message) => {
      if (this.child === child) this.receive(message);
    });
    child.on("exit", (code, signal) => {
      if (this.child === child) this.ended(code, signal);
    });
    const out = this.options.adapters.runFolder;
    child.send({ type: "start", root: folder, out, minutes, filesExclude, without, ...base });
    this.batteryTimer = setInterval(() => this.watchBattery(), this.options.batteryMs ?? BATTERY_MS);
    this.batteryTimer.unref();
    this.watchBattery();
    this.show(this.running);
    return null;
  }

  /** Does what the user asks; `base` is needed where a run is taken up. */
  control({ action }: ControlParams, base: () => Base): string | null {
    if (this.child === null) {
      const { runFolder } = this.options.adapters;
      if (action === "cancel") {
        rmSync(join(runFolder, runFolderName), { recursive: true, force: true });
        this.show({ kind: "none" });
      } else if (action === "resume") {
        const params = paramsOf(unfinishedRun(join(runFolder, runFolderName))?.settings);
        return params === null ? "There is no run that could go on; start a new one." : this.start(params, base());
      }
      return null;
    }
    switch (action) {
      case "pause":
        this.setPaused("user");
        break;
      case "resume":
        this.mayUseBattery = true;
        this.setPaused(null);
        break;
      case "finish":
        if (this.running !== null) this.running.pausedBy = null;
        this.child.send({ type: "finish" });
        break;
      case "cancel":
        this.outcome = { kind: "none" };
        this.child.kill("SIGKILL");
        break;
    }
    return null;
  }

  /** Lets the process keep its state and end by itself. */
  dispose(): void {
    clearInterval(this.batteryTimer);
    const { child } = this;
    this.child = null;
    if (child?.connected) child.disconnect();
  }

  private receive(message: FromProcess): void {
    const running = this.running!;
    switch (message.type) {
      case "phase":
        Object.assign(running, { phase: message.phase satisfies Phase, fraction: message.fraction });
        break;
      case "notice":
        running.notices = [...running.notices, message.sentence].slice(-MOST_NOTICES);
        break;
      case "data":
        return;
      case "step": {
        const { step, epoch, loss, heldOutBpb, startBpb, secondsLeft, elapsed } = message;
        // What it begins with, so that the first score has something to be compared with.
        if (running.progress === null) this.curve.addHeldOut(step - 1, heldOutBpb);
        this.curve.addLoss(step, loss);
        running.progress = { step, epoch: epoch + 1, loss, heldOutBpb, startBpb, secondsLeft };
        running.fraction = elapsed / (elapsed + secondsLeft);
        break;
      }
      case "score": {
        const { step, epoch, loss, heldOutBpb, startBpb, secondsLeft } = message;
        this.curve.addHeldOut(step, heldOutBpb);
        running.progress = { step, epoch, loss, heldOutBpb, startBpb, secondsLeft };
        break;
      }
      case "report":
        this.outcome = this.done(message.report);
        return;
      case "stopped":
        this.outcome = this.unfinished() ?? { kind: "none" };
        return;
      case "failed":
        this.outcome = { kind: "failed", sentence: message.sentence };
        return;
    }
    this.show(running);
  }

  private done(report: Report): RunState {
    const { verdict, seconds, steps, peakMemoryMb } = report;
    const { heldOut, general, byLanguage, interval, reason } = verdict;
    const adapter = verdict.isUsed ? this.options.adapters.adopt() : null;
    if (adapter !== null) this.options.onAdapter(adapter);
    const measured = { heldOut, general, byLanguage, interval, completions: verdict.completions };
    return {
      kind: "done",
      summary: { adapter, sentence: reason, ...measured, seconds, steps, peakMemoryMb },
      curve: this.curve.points,
    };
  }

  private ended(code: number | null, signal: string | null): void {
    clearInterval(this.batteryTimer);
    this.child = null;
    this.running = null;
    const isCancelled = this.outcome?.kind === "none";
    if (isCancelled) rmSync(join(this.options.adapters.runFolder, runFolderName), { recursive: true, force: true });
    if (this.outcome === null) {
      this.options.log(`Fine-tuning ended with ${signal ?? `code ${code}`}.`);
      const next = this.unfinished() === null ? "start it again" : "start it again, and it goes on from where it was";
      const cause = signal ?? `code ${code}`;
      this.outcome = { kind: "failed", sentence: `Fine-tuning ended unexpectedly (${cause}); ${next}.` };
    }
    this.show(this.outcome);
  }

  private setPaused(by: RunningState["pausedBy"]): void {
    const { running, child } = this;
    if (running === null || child === null || running.pausedBy === by) return;
    running.pausedBy = by;
    child.send({ type: "pause", isPaused: by !== null });
    this.show(running);
  }

  private watchBattery(): void {
    const isOnBattery = this.options.isOnBattery();
    const pausedBy = this.running?.pausedBy ?? null;
    if (isOnBattery && pausedBy === null && !this.mayUseBattery) this.setPaused("battery");
    if (!isOnBattery && pausedBy === "battery") this.setPaused(null);
  }

  private unfinished(): RunState | null {
    const found = unfinishedRun(join(this.options.adapters.runFolder, runFolderName));
    const params = paramsOf(found?.settings);
    if (found === null || params === null) return null;
    return { kind: "unfinished", folder: params.folder, minutes: params.minutes, step: found.step };
  }

  private show(state: RunState): void {
    if (state.kind === "running") state.curve = this.curve.points;
    this.stateNow = state;
    this.options.onState(state);
  }
}

/** What a run was started with, from its settings on disk; null when they are not a run's. */
function paramsOf(settings: Record<string, unknown> | undefined): StartParams | null {
  const { root, minutes, filesExclude = {}, without = [] } = settings ?? {};
  if (typeof root !== "string" || typeof minutes !== "number") return null;
  return { folder: root, minutes, filesExclude: filesExclude as FilesExclude, without: without as string[] };
}
