/** What a run tells whoever started it, and how that one steers it. */
import type { DatasetStatistics } from "./dataset";
import type { HistoryPoint, StepInfo } from "./train";

export type Phase = "reading" | "loading" | "scoring" | "training" | "judging";

export type FineTuneEvent =
  | { type: "phase"; phase: Phase; fraction: number }
  | { type: "notice"; sentence: string }
  | { type: "data"; train: DatasetStatistics; heldOut: DatasetStatistics; summary: string }
  | ({ type: "step"; startBpb: number; secondsLeft: number } & StepInfo)
  | ({ type: "score"; startBpb: number; secondsLeft: number } & HistoryPoint);

export interface FineTuneHooks {
  onEvent(event: FineTuneEvent): void;
  /** Ends the run as soon as the step at work is done, with its state kept. */
  signal: AbortSignal;
  /** Waits while the run is paused; resolves at once when it is not. */
  whilePaused(): Promise<void>;
  /** Whether training is to end now, and what was learned until now to be judged. */
  isEnough(): boolean;
}
