/** What the LSP thread and the model's thread say to each other about texts that are looked at (`text-readings.ts`). */
import type { Position, TextDocumentContentChangeEvent } from "vscode-languageserver/node";
import type { Measured } from "../model-runtime/statistics/measure";
import type { Continuation, Explanation, LineRange, LinesParams, Reading, Refused } from "./overlay-protocol";

export type ToReadings =
  | { type: "openText"; uri: string; text: string; version: number }
  | { type: "changeText"; uri: string; changes: TextDocumentContentChangeEvent[]; version: number }
  /** Lines in view; those that were not in view before are sent at once. `isMixed`: with the workspace's counts. */
  | { type: "watchText"; uri: string; ranges: LineRange[]; isMixed: boolean }
  | { type: "closeText"; uri: string }
  /** `answer` follows. */
  | { type: "ask"; id: number; question: Question }
  /** Nobody waits for the answer any more; it comes soon, and says so. */
  | { type: "withdraw"; id: number };

export type Question =
  | { kind: "explain" | "continue"; uri: string; position: Position }
  | { kind: "read"; uri: string; patienceMs: number; isMixed: boolean }
  /** Of a text that is not open. */
  | { kind: "measure"; bytes: Uint8Array };

export type Answer = Explanation | Continuation | Reading | Measured | Refused;

export type FromReadings =
  | ({ type: "lines" } & LinesParams)
  /** All values are known. */
  | { type: "settled"; uri: string; version: number; surprising: number[] }
  /** The model cannot read this text; the sentence says why. */
  | { type: "unreadable"; uri: string; problem: string }
  | { type: "answer"; id: number; answer: Answer };
