/** Continues a text byte by byte: sampled (`generate`) or by beam search (`generateBeam`). */
import { UserError } from "../errors";
import { BYTE_OFFSET, decode, EOS, VOCABULARY_SIZE } from "../ids";
import { entropyOfLogits } from "../model/entropy";
import type { TextState } from "../model/text-state";
import { beamSearch } from "./beam";
import { createRandom } from "./random";
import { checkSampling, logSoftmax, type SamplingOptions, sample } from "./sampling";
import { createSpeculation, DraftedText, type Speculation } from "./speculate";
import { checkStops, createStopMatcher } from "./stop-strings";

export interface StopOptions {
  /** Longest continuation, bytes. */
  maxBytes: number;
  /** Byte strings that end the continuation and are not part of it. */
  stop?: readonly Uint8Array[];
  /** Takes effect before the next run of a network. */
  signal?: AbortSignal;
}

export interface GenerateOptions extends SamplingOptions, StopOptions {
  /** No byte is begun later than this many milliseconds after the call. */
  timeLimitMs?: number;
  /** Same seed, same text; default 0. */
  seed?: number;
  /** Drafts that are verified together; the bytes are the same as without. */
  speculation?: Speculation;
}

/** One byte of a continuation and what the model thought of it, before any option changed its distribution. */
export interface GeneratedByte {
  byte: number;
  /** Nats. */
  logProb: number;
  /** Of the distribution the byte was drawn from, nats. */
  entropy: number;
  /** 1 - entropy / ln 260: 1 when only one byte was possible, 0 when all were equally likely. */
  confidence: number;
}

export type EndReason = "eos" | "stop" | "length" | "time" | "aborted";

/**
 * Appends `prompt` to the text, then one byte after the other; yields each byte as soon as it can no longer be part of a
 * stop string. Afterwards the text holds the prompt and all bytes that were yielded; after an abort the last of them may
 * be missing, because an abort lets no further run begin.
 */
export async function* generate(
  sequence: TextState,
  prompt: ArrayLike<number>,
  options: GenerateOptions,
): AsyncGenerator<GeneratedByte, EndReason> {
  checkSampling(options);
  checkMaxBytes(options.maxBytes);
  const { maxBytes, stop = [], signal, timeLimitMs = Number.POSITIVE_INFINITY } = options;
  const random = createRandom(options.seed ?? 0);
  const matcher = createStopMatcher(stop);
  const window = options.repetitionWindow ?? DEFAULT_REPETITION_WINDOW;
  const deadline = performance.now() + timeLimitMs;
  /** Bytes that are in the text and not yielded yet, because a stop string may have begun. */
  const held: GeneratedByte[] = [];
  let end: EndReason = "length";
  let yieldedTo = sequence.length + prompt.length;
  let text: DraftedText | null = null;
  try {
    let logits = await appendPrompt(sequence, prompt, signal);
    text = new DraftedText(sequence, options.speculation ?? noSpeculation);
    const recent: number[] = Array.prototype.slice.call(prompt, -window);
    for (let count = 0; count < maxBytes; count++) {
      if (performance.now() >= deadline) {
        end = "time";
        break;
      }
      const id = sample(logits, options, random, recent);
      if (id === EOS) {
        end = "eos";
        break;
      }
      const uncertainty = entropyOfLogits(logits);
      held.push({
        byte: id - BYTE_OFFSET,
        logProb: logSoftmax(logits)[id],
        entropy: uncertainty,
        confidence: 1 - uncertainty / Math.log(VOCABULARY_SIZE),
      });
      const stopped = matcher.push(id - BYTE_OFFSET);
      if (stopped > 0) {
        held.length -= stopped;
        end = "stop";
        break;
      }
      const free = held.length - matcher.heldBytes;
      for (const ready of held.splice(0, free)) {
        yieldedTo++;
        yield ready;
      }
      recent.push(id);
      if (recent.length > window) recent.shift();
      // The last byte goes into the text as well, so that it can be continued later.
      logits = await text.append(id, maxBytes - count - 1, signal);
    }
    for (const ready of held.splice(0)) {
      yieldedTo++;
      yield ready;
    }
    return end;
  } catch (error) {
    if (signal?.aborted && error === signal.reason) return "aborted";
    throw error;
  } finally {
    text?.end();
    if (sequence.length > yieldedTo) sequence.truncate(yieldedTo);
  }
}

const noSpeculation = createSpeculation([]);

export interface BeamGenerateOptions extends StopOptions {
  /** Hypotheses kept at each step. */
  width: number;
  /** Exponent of the length that scores are divided by; default 1, the mean of a byte. */
  lengthPenalty?: number;
}

export interface BeamResult {
  bytes: Uint8Array;
  /** Sum over the bytes (and EOS or the stop string where one ended it), nats. */
  logProb: number;
  end: "eos" | "stop" | "length";
}

/** The best continuation beam search finds; afterwards the text holds the prompt only. */
export async function generateBeam(
  sequence: TextState,
  prompt: ArrayLike<number>,
  options: BeamGenerateOptions,
): Promise<BeamResult> {
  checkMaxBytes(options.maxBytes);
  const { width, maxBytes, lengthPenalty = 1, stop = [], signal } = options;
  checkStops(stop);
  const stopIds = stop.map((bytes) => Array.from(bytes, (byte) => byte + BYTE_OFFSET));
  const stopsIn = (ids: readonly number[]) => stopIds.filter((tail) => endsWith(ids, tail));
  const step = (state: TextState, logits: Float32Array) => ({ state, logProbs: logSoftmax(logits) });
  const [best] = await beamSearch<TextState>(
    {
      start: async () => step(sequence, await appendPrompt(sequence, prompt, signal)),
      advance: async (state, id) => {
        const next = state.fork();
        return step(next, await next.append([id], { signal }));
      },
      release: () => undefined,
    },
    { width, maxBytes, lengthPenalty, endsWith: (ids) => stopsIn(ids).length > 0, signal },
  );
  const tail = best.ended === "stop" ? Math.max(...stopsIn(best.ids).map((ids) => ids.length)) : 0;
  return { bytes: decode(best.ids.slice(0, best.ids.length - tail)), logProb: best.logProb, end: best.ended };
}

const DEFAULT_REPETITION_WINDOW = 64;

/** Logits after the prompt; an empty prompt continues the text as it is. */
async function appendPrompt(
  sequence: TextState,
  prompt: ArrayLike<number>,
  signal: AbortSignal | undefined,
): Promise<Float32Array> {
  if (prompt.length > 0) return sequence.append(prompt, { signal });
  if (sequence.length === 0) throw new Error("a text without an id cannot be continued: begin it with BOS");
  const last = sequence.idAt(sequence.length - 1);
  sequence.truncate(sequence.length - 1);
  return sequence.append([last], { signal });
}

function endsWith(ids: readonly number[], tail: readonly number[]): boolean {
  return tail.length <= ids.length && tail.every((id, i) => id === ids[ids.length - tail.length + i]);
}

function checkMaxBytes(maxBytes: number): void {
  if (!(Number.isInteger(maxBytes) && maxBytes >= 1))
    throw new UserError(`The longest continuation must be a whole number of at least 1 byte, not ${maxBytes}.`);
}
