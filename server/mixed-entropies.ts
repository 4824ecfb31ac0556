/**
 * How unsure the mixture of entropy model and workspace (docs/ngram.md) is before each byte of a document, kept in step with
 * edits. Costs some ten times what the entropy model alone does, so only what is asked for is read.
 *
 * Shapes: n bytes. Value i is about byte i; value n about the byte that is to come.
 */
import type { Edit } from "../model-runtime/edit";
import { BOS, BYTE_OFFSET } from "../model-runtime/ids";
import { entropyOfLogits } from "../model-runtime/model/entropy";
import type { EntropyStream, Patcher } from "../model-runtime/model/entropy-model";
import type { PatchedBuffer, Span } from "../model-runtime/patching/patched-buffer";
import { Spans } from "../model-runtime/patching/spans";

/** Bytes of a document before a place that count, at least, for what is expected there. */
export const SEEN_BYTES = 2048;
/** Bytes read before a place by an entropy model that has no window. */
const MOST_READ = 4096;
/** Bytes read in one step: some twenty milliseconds. */
const CHUNK = 256;

/** A stretch of a document, and what the entropy model says of it. */
export interface Stretch {
  /** The bytes before it, as many as count. */
  before: Uint8Array;
  /** Those of its places but the last. */
  bytes: Uint8Array;
  /** [bytes + 1][260]: of the byte behind `before`, and of the byte behind each of `bytes`. */
  logits: Float32Array;
}

/** The counts of all documents but one. */
export interface Mix {
  /** Grows when they change. */
  readonly version: number;
  /** Tells `take`, place by place, the log-probabilities of 256 bytes and the end, nats, which are valid during the call. */
  expect(stretch: Stretch, take: (logProbs: Float64Array) => void): void;
}

export class MixedEntropies {
  private values: Float32Array;
  private readonly unread = new Spans();
  /** What has read the document up to byte `at`, -1 being before BOS; null after edits. */
  private reader: { stream: EntropyStream; at: number } | null = null;
  private edits = 0;
  private version: number;

  /** @param buffer takes edits before `edited` is told of them */
  constructor(
    private readonly buffer: PatchedBuffer,
    private readonly patcher: Omit<Patcher, "release">,
    private readonly mix: Mix,
  ) {
    this.values = new Float32Array(buffer.length + 1).fill(Number.NaN);
    this.unread.add(0, buffer.length + 1);
    this.version = mix.version;
  }

  /** Nats before each of bytes `from` to `to` (at most n + 1); NaN where unknown, and of an earlier text where not settled. */
  entropies(from = 0, to = this.buffer.length): Float32Array {
    return this.values.slice(from, to);
  }

  isSettled(from = 0, to = this.buffer.length + 1): boolean {
    return !this.unread.overlaps(from, to);
  }

  /** Follows an edit; returns the bytes whose values may change. */
  edited({ start, deleted, inserted }: Edit): Span {
    const values = new Float32Array(this.values.length + inserted.length - deleted);
    values.set(this.values.subarray(0, start));
    values.fill(Number.NaN, start, start + inserted.length);
    values.set(this.values.subarray(start + deleted), start + inserted.length);
    this.values = values;
    this.unread.splice(start, deleted, inserted.length);
    const to = Math.min(values.length, start + inserted.length + SEEN_BYTES);
    this.unread.add(start, to);
    this.reader = null;
    this.edits++;
    return { from: start, to };
  }

  /** Everything is to be read anew, if the workspace has changed since it was. */
  refresh(): void {
    if (this.version === this.mix.version) return;
    this.version = this.mix.version;
    this.unread.add(0, this.values.length);
  }

  /** Reads some of the bytes `wanted`; returns those whose values have changed, none if an edit made the reading useless. */
  async step(wanted: Span, signal?: AbortSignal): Promise<Span> {
    const next = this.unread.choose(wanted);
    if (next === null) return { from: wanted.from, to: wanted.from };
    const { from } = next;
    const to = Math.min(next.to, from + CHUNK);
    const { edits, buffer } = this;
    const before = buffer.bytes(Math.max(0, from - SEEN_BYTES), from);
    const bytes = buffer.bytes(from, to - 1);
    const logits = await this.logitsOf(from, to, signal);
    if (edits !== this.edits) return { from, to: from };
    let at = from;
    this.mix.expect({ before, bytes, logits }, (logProbs) => {
      this.values[at++] = entropyOfLogits(logProbs);
    });
    this.unread.remove(from, to);
    return { from, to };
  }

  /** The entropy model's logits for bytes `from` to `to`, [to - from][260]. */
  private async logitsOf(from: number, to: number, signal?: AbortSignal): Promise<Float32Array> {
    const { buffer, patcher, edits } = this;
    const idOf = (at: number) => (at < 0 ? BOS : buffer.bytes(at, at + 1)[0] + BYTE_OFFSET);
    const idsOf = (start: number, end: number) => Array.from({ length: end - start }, (_, i) => idOf(start + i));
    // Row i follows byte i - 1.
    const ids = idsOf(from - 1, to - 1);
    let { reader } = this;
    this.reader = null;
    if (reader?.at !== from - 1) {
      const start = Math.max(-1, from - 1 - Math.min(MOST_READ, patcher.receptiveField));
      const lead = idsOf(start, from - 1);
      reader = { stream: patcher.begin(buffer.patching), at: from - 1 };
      if (lead.length > 0) await reader.stream.next(lead, signal);
    }
    const logits = await reader.stream.nextLogits(ids, signal);
    if (edits === this.edits) this.reader = { stream: reader.stream, at: to - 1 };
    return logits;
  }
}
