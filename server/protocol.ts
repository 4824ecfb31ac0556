/**
 * Everything the server and its client say to each other beyond the standard protocol (LSP 3.18), and the settings with
 * their defaults and ranges. Both sides import this file; no other message is custom.
 */
import type { Device } from "../model-runtime/device";
import type { Quote } from "./workspace-protocol";

/** Section of the settings in `workspace/configuration`: `blt.enable`, `blt.modelPath`, ... */
export const SETTINGS_SECTION = "blt";

/** Sent by the server whenever it changes; also the answer to `blt/status`. */
export const STATUS_NOTIFICATION = "blt/status";
/** Request without parameters -> `Status`. */
export const STATUS_REQUEST = "blt/currentStatus";
/** Request `WhyParams` -> `Decision[]`, newest first. */
export const WHY_REQUEST = "blt/why";
/** Sent by the client when the cursor has moved without an edit: a `CursorParams`; the server reads ahead there. */
export const CURSOR_NOTIFICATION = "blt/cursor";
/** Request without parameters -> null: forgets failures and loads the model anew. */
export const RESTART_MODEL_REQUEST = "blt/restartModel";
/** Request `MeasurementsParams` -> `Measurements`: figures for the benchmark and the log. */
export const MEASUREMENTS_REQUEST = "blt/measurements";

/** What the model is doing, and what the user should know besides. */
export interface Status {
  state: ModelState;
  /** Sentences about settings that could not be used and what is used instead; empty when all is well. */
  notices: string[];
  /** What came of the last request for a suggestion; null before the first. */
  last: Pick<Decision, "time" | "sentence"> | null;
}

export type ModelState =
  /** No model is loaded because none is needed yet, or because it was unloaded when idle; the next request loads it. */
  | { kind: "unloaded" }
  /** `fraction` from 0 to 1. */
  | { kind: "loading"; fraction: number }
  | ({ kind: "ready" } & LoadedModel)
  /** A suggestion is being computed. */
  | ({ kind: "working" } & LoadedModel)
  /** Switched off by the setting `blt.enable`. */
  | { kind: "paused" }
  /** No suggestions until something is done; the sentence says what. */
  | { kind: "problem"; sentence: string };

export interface LoadedModel {
  /** Name of the model's folder, and of the adapter's; null for none. */
  model: string;
  adapter: string | null;
  /** The device in use, `cpu`, `cuda`, ... */
  device: string;
  /** How int8 weights are multiplied; null when the model has none. */
  kernel: string | null;
  /** Time of the last suggestion from request to item, ms; null before the first. */
  lastMs: number | null;
}

export interface WhyParams {
  /** Only decisions about this document; all when absent. */
  uri?: string;
}

/** Where the cursor stands: of the standard protocol's `TextDocumentPositionParams`. */
export interface CursorParams {
  textDocument: { uri: string };
  position: { line: number; character: number };
}

/** What came of one request for a suggestion. */
export interface Decision {
  uri: string;
  /** Zero-based, in UTF-16 code units, as in LSP. */
  line: number;
  character: number;
  /** Milliseconds since 1970. */
  time: number;
  /** From request to answer, ms. */
  ms: number;
  reason: Reason;
  /** The reason in one sentence for the user. */
  sentence: string;
  /** Where the text that was shown stands word for word in the workspace; absent when it does not, or is not known yet. */
  quote?: Quote;
}

/** `shown` and `shownFromCache`: an item was sent. All others: an empty list was sent. */
export type Reason =
  | "shown"
  | "shownFromCache"
  | "disabled"
  | "languageDisabled"
  | "unknownDocument"
  | "documentTooLarge"
  | "binaryDocument"
  | "textAfterCursor"
  | "modelLoading"
  | "modelProblem"
  | "lowConfidence"
  | "emptyPrediction"
  | "lowValue"
  | "repeatsText"
  | "cancelled";

export interface MeasurementsParams {
  /** Begin counting anew after this answer. */
  reset?: boolean;
}

export interface Measurements {
  /** Longest time the event loop of the LSP thread was blocked since the last reset, ms. */
  longestBlockMs: number;
  /**
   * Longest it computed at a stretch, ms of processor time: a block without the waiting for a processor. Null where the
   * system does not tell.
   */
  longestComputingMs: number | null;
  /** Share of time the LSP thread was busy since the last reset, 0 to 1. */
  utilization: number;
  /** Resident memory of the whole server process, bytes. */
  residentBytes: number;
  /** Requests since the last reset that were answered with an item, by where it came from. */
  answers: { fromModel: number; fromRunning: number; fromCache: number };
  /** Bytes of context that requests had to wait for since the last reset, because they were not in the model's caches. */
  processedBytes: number;
  /** Bytes of context that were still in the model's caches since the last reset. */
  reusedBytes: number;
  /** Bytes read ahead since the last reset, while nobody waited. */
  aheadBytes: number;
}

/** When a suggestion may have several lines: never, at an empty block or when asked for, wherever the line is blank. */
export type Multiline = "never" | "auto" | "always";

export interface Settings {
  enable: boolean;
  /** Language id -> whether suggestions are made in it; `*` stands for all that are not named. */
  languages: Record<string, boolean>;
  /** Folder of a checkpoint; empty for the model inside the package. */
  modelPath: string;
  device: Device;
  /** Threads of one operator; 0 leaves the choice to onnxruntime. */
  threads: number;
  /** Bytes that the model reads, at most: text before the cursor, up to a quarter of it parts of other open files. */
  contextBytes: number;
  /** Longest suggestion, bytes. */
  maxSuggestionBytes: number;
  multiline: Multiline;
  /** How long automatic requests wait for the next key, ms; not after a line end, a dot or an opening bracket. */
  delay: number;
  /** Geometric mean of the probabilities of a suggestion's bytes below which it is not shown; 0 shows all. */
  minConfidence: number;
  /** Minutes without a request after which the model's memory is freed; 0 keeps it. */
  unloadAfterMinutes: number;
  /** Whether suggestions are mixed with exact counts over the workspace's files. */
  workspace: boolean;
}

export const defaultSettings: Readonly<Settings> = {
  enable: true,
  languages: { "*": true, scminput: false },
  modelPath: "",
  device: "auto",
  threads: 0,
  contextBytes: 4096,
  maxSuggestionBytes: 256,
  multiline: "auto",
  delay: 30,
  minConfidence: 0.94,
  unloadAfterMinutes: 30,
  workspace: true,
};

/** Smallest and largest value of the numbers; `whole` ones have no fraction. */
export const settingRanges = {
  threads: { least: 0, most: 64, whole: true },
  contextBytes: { least: 256, most: 32768, whole: true },
  maxSuggestionBytes: { least: 8, most: 4096, whole: true },
  delay: { least: 0, most: 5000, whole: true },
  minConfidence: { least: 0, most: 1, whole: false },
  unloadAfterMinutes: { least: 0, most: 1440, whole: false },
} as const;

export const multilineChoices: readonly Multiline[] = ["never", "auto", "always"];
