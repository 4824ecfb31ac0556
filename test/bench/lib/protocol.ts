/**
 * What the benchmark and its subjects say to each other: one JSON object a line, on the subject's standard input and
 * output. A subject says `Ready` once, then answers each `Task` with a `Completion`.
 */

/** Prefill a prompt, then decode the continuation as if the model had written it. */
export interface Task {
  prompt: string;
  continuation: string;
  /** What the engine's networks ran for this task; the subject that only multiplies matrices does the same products. */
  runs: TaskRuns | null;
}

export interface Completion {
  /** From the prompt's text to the distribution after its last byte. */
  prefillMs: number;
  /** All steps of decoding. */
  decodeMs: number;
  /** Bytes decoded: the continuation's, or fewer where a subject is too slow for all of them. */
  decodedBytes: number;
  /** Tokens, of a subject that has a tokenizer. */
  tokens?: { prompt: number; decoded: number };
  /** Of the engine only. */
  runs?: TaskRuns;
}

export interface TaskRuns {
  prefill: NetworkRun[];
  decode: NetworkRun[];
}

/** One run of a network over `rows` new rows, of which `products` are multiplied in all layers; `latent` counts in patches, the others in bytes. */
export interface NetworkRun {
  network: string;
  rows: number;
  products: number;
  ms: number;
}

/** First line of a subject: it is loaded and has predicted a first byte or token. */
export interface Ready {
  ready: true;
  /** Settings in force, for the report. */
  settings: string;
  /** Milliseconds of the parts of the start, in order. */
  phases: Record<string, number>;
}
