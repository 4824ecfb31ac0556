/** What the page of fine-tuning and the extension say to each other. */
import type { ControlParams, RunState } from "../../server/finetune-protocol";

export type ToPage = { type: "state"; state: RunState };

export type FromPage =
  | { type: "ready" }
  | { type: "control"; action: ControlParams["action"] }
  /** The user wants to begin a run, or to see the adapters. */
  | { type: "start" }
  | { type: "adapters" };
