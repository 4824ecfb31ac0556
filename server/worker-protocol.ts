/** What the LSP thread and the model's thread say to each other. */
import type { Device } from "../model-runtime/device";
import type { Extent } from "./extent";
import type { AdapterState } from "./host-state";
import type { FromReadings, ToReadings } from "./readings-protocol";
import type { DocumentAround, FromWorkspace, ToWorkspace } from "./workspace-protocol";

export interface ModelChoice {
  /** Folder of a checkpoint. */
  folder: string;
  device: Device;
  /** Threads of one operator; undefined leaves the choice to onnxruntime. */
  threads: number | undefined;
  /** Folder of the adapter to use with it; null for the model as it is. */
  adapter: string | null;
}

export interface ModelRequest {
  /** UTF-8 text before the cursor, without BOS. */
  context: Uint8Array;
  extent: Extent;
  /** What the document has around the context, for the workspace's counts; left out when they are switched off. */
  around?: DocumentAround;
  /** Longest suggestion, bytes. */
  maxBytes: number;
  /** Time for the bytes of the suggestion, ms; reading the context is not counted. */
  timeLimitMs: number;
  /** Geometric mean probability far below which the model gives up. */
  minConfidence: number;
  /** 0: the likeliest bytes; else another continuation, the same for the same number. */
  alternative: number;
  /** Whether nobody waits for it: another suggestion than the first, or what follows one. Counted as read ahead. */
  isAhead?: boolean;
}

export type ToWorker =
  | { type: "load"; choice: ModelChoice }
  | { type: "complete"; id: number; request: ModelRequest }
  /** Takes a context (as in a `ModelRequest`) into the caches and writes nothing. */
  | { type: "read"; id: number; context: Uint8Array }
  /** Takes effect before the next run of a network; `done` follows. */
  | { type: "abort"; id: number }
  | ToReadings
  | ToWorkspace
  /** Takes another adapter into use, null for none; texts stay. `adapted` follows. */
  | { type: "adapter"; folder: string | null }
  /** Frees the model and ends the thread. */
  | { type: "unload" };

/**
 * `rule`: the extent ends here; `eos`: the model says the document ends; `unsure`: the confidence is far too low;
 * `length`, `time`: limits, so that the last word may be cut.
 */
export type End = "rule" | "eos" | "unsure" | "length" | "time" | "aborted";

export type FromWorker =
  | FromReadings
  | FromWorkspace
  | { type: "loading"; fraction: number }
  | ({ type: "adapted" } & AdapterState)
  | ({
      type: "loaded";
      device: string;
      kernel: string | null;
      /** Why another device is used than the one asked for; else null. */
      notice: string | null;
    } & AdapterState)
  /** The model cannot be loaded; the thread ends. */
  | { type: "refused"; sentence: string }
  /** The end of a context that was read; `processedBytes` of it were new. */
  | { type: "read"; id: number; end: "read" | "aborted"; processedBytes: number }
  | { type: "byte"; id: number; byte: number; logProb: number }
  | { type: "done"; id: number; end: End; processedBytes: number; reusedBytes: number };
