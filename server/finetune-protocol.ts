/**
 * What server and client say to each other about fine-tuning (docs/finetune.md, "In the editor"), and what the server and
 * the process at work say to each other. All shapes are plain JSON.
 */
import type { Device } from "../model-runtime/device";
import type { FineTuneEvent, Phase } from "../model-runtime/training/finetune-hooks";
import type { Report } from "../model-runtime/training/report-file";
import type { Comparison, Pair, Verdict } from "../model-runtime/training/verdict";
import type { FilesExclude } from "../model-runtime/workspace/ignore-rules";
import type { Refused } from "./overlay-protocol";

/** In the client's `initializationOptions`: folders of its own where adapters, runs and the lock may be written. */
export interface StorageOptions {
  /** Of this workspace. Without it nothing is learned and no adapter of the workspace's own is used. */
  storageFolder?: string;
  /** Shared by all workspaces: one run at a time. */
  sharedFolder?: string;
}

/** Request `PreviewParams` -> `Preview | Refused`. */
export const PREVIEW_REQUEST = "blt/fineTunePreview";
/** Request `StartParams` -> `Refused | null`; what comes of it is told by `RUN_NOTIFICATION`. */
export const START_REQUEST = "blt/fineTuneStart";
/** Request `ControlParams` -> null. */
export const CONTROL_REQUEST = "blt/fineTuneControl";
/** Request without parameters -> `RunState`. */
export const RUN_REQUEST = "blt/fineTuneState";
/** Sent by the server when it changes, at most a few times a second: a `RunState`. */
export const RUN_NOTIFICATION = "blt/fineTune";
/** Request without parameters -> `AdapterInfo[] | Refused`, the newest first. */
export const ADAPTERS_REQUEST = "blt/adapters";
/** Request `AdapterAction` -> `AdapterInfo[] | Refused`: the list after it. */
export const ADAPTER_ACTION_REQUEST = "blt/adapterAction";

export interface PreviewParams {
  folder: string;
  filesExclude: FilesExclude;
}

export interface PreviewFolder {
  /** Relative, with "/" between names. */
  path: string;
  files: number;
  bytes: number;
}

/** What would be learned from. */
export interface Preview {
  files: number;
  bytes: number;
  /** Of the files, those that lie in no folder of `folders`. */
  rest: { files: number; bytes: number };
  /** Folders that can be left out, each with all that is below it; the largest first. */
  folders: PreviewFolder[];
  /** What was passed over, with the number of files or folders each. */
  passedOver: { reason: string; count: number }[];
  /** Name of the model. */
  model: string;
  /** Estimated peak of the process, bytes. */
  memoryBytes: number;
  /** Bytes of text from which this machine is expected to learn in a minute: as in the last run, or else estimated. */
  bytesPerMinute: number;
  /** Least bytes of text that a run needs. */
  leastBytes: number;
}

export interface StartParams {
  folder: string;
  filesExclude: FilesExclude;
  /** Folders that the user unselected. */
  without: string[];
  minutes: number;
}

/** `finish` judges what has been learned until now; `cancel` discards it; `resume` goes on, also on battery, or after a crash. */
export interface ControlParams {
  action: "pause" | "resume" | "finish" | "cancel";
}

export type RunState =
  | { kind: "none" }
  /** A run was cut off and can go on; `step` is the last one that was kept. */
  | { kind: "unfinished"; folder: string; minutes: number; step: number }
  | RunningState
  | { kind: "done"; summary: RunSummary; curve: Curve }
  | { kind: "failed"; sentence: string };

export interface RunningState {
  kind: "running";
  folder: string;
  phase: Phase;
  /** Of the phase, 0 to 1. */
  fraction: number;
  pausedBy: "user" | "battery" | null;
  /** Null before the first step. */
  progress: Progress | null;
  curve: Curve;
  /** What the run had to say, the newest last. */
  notices: string[];
}

export interface Progress {
  step: number;
  epoch: number;
  /** Nats a prediction. */
  loss: number;
  /** Bits per byte of held-out text now and before the first step. */
  heldOutBpb: number;
  startBpb: number;
  secondsLeft: number;
}

/** Points of the page's plot. */
export interface Curve {
  /** [step, nats a prediction], thinned by averaging neighbours. */
  loss: [number, number][];
  /** [step, bits per byte] of held-out text. */
  heldOut: [number, number][];
}

export interface RunSummary {
  /** Id of the adapter; null when it was discarded. */
  adapter: string | null;
  /** What came of it, in a sentence. */
  sentence: string;
  heldOut: Comparison;
  general: Comparison;
  byLanguage: Record<string, Comparison>;
  /** Lines that were really completed, by the model alone and mixed with the workspace's counts. */
  completions: Verdict["completions"];
  interval: [number, number];
  seconds: number;
  steps: number;
  peakMemoryMb: number;
}

export interface AdapterInfo {
  /** Name of its folder; `shared` for the one that the settings name. */
  id: string;
  /** ISO 8601; empty where it is not known. */
  date: string;
  /** Files and bytes it was learned from; 0 where it is not known. */
  files: number;
  trainedBytes: number;
  /** Of its files on disk. */
  sizeBytes: number;
  heldOut: Pair | null;
  general: Pair | null;
  exactMatch: Pair | null;
  isInUse: boolean;
  /** Why it cannot be used with the model at hand; null when it can. */
  problem: string | null;
}

export type AdapterAction =
  /** Null is the model without an adapter. */
  | { action: "use"; id: string | null }
  | { action: "delete"; id: string }
  | { action: "export"; id: string; folder: string }
  | { action: "import"; folder: string };

/** Id of the adapter that the setting `blt.modelPath` names. */
export const SHARED_ID = "shared";

/** What the process at work is told. */
export type ToProcess =
  | {
      type: "start";
      root: string;
      out: string;
      model: string;
      device: Device;
      threads: number | undefined;
      minutes: number;
      filesExclude: FilesExclude;
      without: string[];
      /** Taken while the run goes on, so that there is one run at a time; null for no such lock. */
      lockFolder: string | null;
      /** Of the process, from 19, the lowest, to 0, that of others. */
      priority: number;
    }
  | { type: "pause"; isPaused: boolean }
  | { type: "finish" };

/** What it says; after one of the last three it ends. */
export type FromProcess =
  | FineTuneEvent
  | { type: "report"; report: Report }
  /** It was told to stop, and its state is kept. */
  | { type: "stopped" }
  | { type: "failed"; sentence: string };

export type { Refused };
