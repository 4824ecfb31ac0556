/**
 * What server and client say to each other about how the model reads a text: overlay, explorer, statistics. Part of the
 * protocol that `protocol.ts` begins; both sides import it. Lines and columns are LSP's: zero-based, UTF-16 code units.
 */
import type { Position } from "vscode-languageserver/node";
import type { PatchingConfig } from "../model-runtime/checkpoint/config";
import type { Statistics } from "../model-runtime/statistics/collect";

/** Notification `WatchParams`: which lines of a document are looked at. */
export const WATCH_NOTIFICATION = "blt/overlay/watch";
/** Notification `LinesParams`: lines whose values are new or have changed. */
export const LINES_NOTIFICATION = "blt/overlay/lines";
/** Notification `ReadingState`. */
export const READING_NOTIFICATION = "blt/overlay/reading";
/** Request `PlaceParams` -> `Explanation | Refused`. */
export const EXPLAIN_REQUEST = "blt/overlay/explain";
/** Request `PlaceParams` -> `Continuation | Refused`: what the whole model would have written at a place. */
export const CONTINUE_REQUEST = "blt/overlay/continue";
/** Request `ExploreParams` -> `Reading | Refused`: a text with all entropies. */
export const EXPLORE_REQUEST = "blt/explorer/read";
/** Request `TokenizeParams` -> `Tokenized[]`. */
export const TOKENIZE_REQUEST = "blt/explorer/tokenize";
/** Request `StatisticsParams` -> `StatisticsResult | Refused`; `STATISTICS_PROGRESS` comes meanwhile. */
export const STATISTICS_REQUEST = "blt/statistics";
/** Notification `StatisticsProgress`. */
export const STATISTICS_PROGRESS = "blt/statistics/progress";

/** Largest text that the explorer shows, bytes: what is beyond is left out, and that is said. */
export const EXPLORER_LIMIT = 200_000;

/** Lines `from` to `to`, the last one not included. */
export interface LineRange {
  from: number;
  to: number;
}

export interface WatchParams {
  uri: string;
  /** Lines in view; empty ends the watch. */
  ranges: LineRange[];
  /** Whether the entropies are those with the workspace's counts; default no. */
  isMixed?: boolean;
}

/** A line as the model reads it. */
export interface LineView {
  /** A digit for each column, and one for the line end where there is one: `entropyLevel`; a blank where it is not known. */
  levels: string;
  /** Columns of characters whose first byte starts a patch; the line's length for its end. */
  starts: number[];
  /** Columns of characters inside which a patch starts. */
  inner: number[];
}

export interface LinesParams {
  uri: string;
  /** The document's version that the lines belong to. */
  version: number;
  parts: { line: number; lines: LineView[] }[];
}

/** That a watched document has been read, or why it is not. */
export interface ReadingState {
  uri: string;
  /** A sentence for the user when there is nothing to show; else null. */
  problem: string | null;
  /** When all is known: the lines that surprise the model most, for the overview ruler; null says nothing new. */
  surprising: { version: number; lines: number[] } | null;
}

export interface PlaceParams {
  uri: string;
  position: Position;
}

/** There is no answer, and why, in a sentence for the user. */
export interface Refused {
  problem: string;
}

/** What is to be said about the bytes of one character. */
export interface Explanation {
  /** Of the character, in its line. */
  character: number;
  /** UTF-16 code units of the character; 0 at the end of the text. */
  length: number;
  bytes: ByteExplanation[];
  /** The patch that the character's first byte lies in, its text with marks for what is not seen, cut where it is long. */
  patch: { from: Position; to: Position; text: string; bytes: number; index: number };
  /** The rule in words: `entropy above 1.335 nats`. */
  rule: string;
}

export interface ByteExplanation {
  /** Offset in the text as the model sees it. */
  offset: number;
  /** The byte; null at the end of the text. */
  byte: number | null;
  /** Nats: before this byte; null in modes that use none. */
  entropy: number | null;
  /** Probability that the entropy model gave this byte; null at the end of the text. */
  probability: number | null;
  /** The five likeliest bytes at this place by the entropy model, `byte` null for the end of the text. */
  likeliest: { byte: number | null; probability: number }[];
  /** The entropy model mixed with the workspace's counts: entropy before this byte, nats, and its probability; null without counts. */
  mixed: { entropy: number; probability: number | null } | null;
  startsPatch: boolean;
  /** Why a boundary stands before this byte, or why none does. */
  reason: string;
}

export interface Continuation {
  text: string;
}

export interface ExploreParams {
  uri: string;
  /** Time after which the answer comes with what is known by then, ms; without it all is read. */
  patienceMs?: number;
  /** Whether the entropies with the workspace's counts are wanted too; default no. */
  isMixed?: boolean;
}

/** A text with what the entropy model says of it. Base64 of little-endian numbers. */
export interface Reading {
  version: number;
  /** The text, line ends as "\n", cut to `EXPLORER_LIMIT` bytes at a whole character. */
  text: string;
  /** Bytes of the whole document. */
  wholeBytes: number;
  /** Float32 [bytes]: nats before each byte; NaN where it is not known yet. */
  entropies: string;
  /** The same with the workspace's counts; null when not wanted, or when no workspace is counted. */
  mixed: string | null;
  /** Whether all entropies are known. */
  isComplete: boolean;
  patching: PatchingConfig;
  /** Name of the model. */
  model: string;
  /** Pieces of a model that reads pieces of a lexicon: Uint32 byte offsets at which they start; else null. */
  pieces: string | null;
}

export interface TokenizeParams {
  text: string;
  /** Path of a Hugging Face `tokenizer.json` of the user's own, for the column of Llama 3; else null. */
  tokenizerFile: string | null;
}

/** A text cut by a tokenizer, or why not. */
export interface Tokenized {
  id: "cl100k" | "o200k" | "llama3";
  /** Base64 of Uint32: byte offsets at which tokens start; null with a sentence in `problem`. */
  starts: string | null;
  problem: string | null;
}

export interface StatisticsParams {
  /** A folder's path, or an open document's address. */
  folder?: string;
  uri?: string;
  /** Chosen by the client, for progress. */
  token: string;
}

export interface StatisticsProgress {
  token: string;
  files: number;
  ofFiles: number;
  bytes: number;
  ofBytes: number;
  /** What is known until now, when that is worth showing. */
  statistics: Statistics | null;
}

export interface StatisticsResult {
  statistics: Statistics;
  model: string;
  skipped: { path: string; reason: string }[];
  /** Whether it was ended early, so that files are missing. */
  isPartial: boolean;
}

export function isRefused(answer: object): answer is Refused {
  return "problem" in answer && !("starts" in answer);
}
