/**
 * Drafts and their verification: the model reads a byte that was chosen together with those that a drafter proposes behind
 * it, in one run, and what is chosen then is compared with them. Whoever chooses sees the same logits in the same order
 * as without drafts, so greedy decoding gives the same bytes (Leviathan et al. 2023), and so does sampling with a seed.
 *
 * Exactly so in float32. With 8-bit activations a row's results depend a little on how many rows run with it, so that two
 * bytes of nearly the same probability may change places, as they do when a text is pasted instead of typed.
 */
import { BYTE_OFFSET, VOCABULARY_SIZE } from "../ids";
import type { TextState } from "../model/text-state";
import { type DraftCosts, DraftRecord, usualDraftCosts } from "./draft-record";
import type { Draft, DraftContext, Drafter, ValuedDraft } from "./drafter";
import { argmax } from "./sampling";

/** What is kept over many texts of a model. */
export interface Speculation {
  /** In the order they are asked; the draft from which most bytes are expected to be right is taken. */
  readonly drafters: readonly Drafter[];
  readonly record: DraftRecord;
  readonly counts: SpeculationCounts;
}

export interface SpeculationCounts {
  /** Bytes proposed, and those of them that were right. */
  drafted: number;
  accepted: number;
  /** Appends to the text. */
  runs: number;
}

export function createSpeculation(drafters: readonly Drafter[], record = new DraftRecord()): Speculation {
  return { drafters, record, counts: { drafted: 0, accepted: 0, runs: 0 } };
}

/** A text that is continued byte by byte, and has read ahead what its drafters proposed. */
export class DraftedText {
  private readonly bytes: ByteText;
  /** The draft that is being compared: what is left of it, and the logits after each of its bytes. */
  private pending: { id: number; logits: Float32Array }[] = [];
  private source: { draft: ValuedDraft; taken: number; isCut: boolean } | null = null;

  constructor(
    private readonly sequence: TextState,
    private readonly speculation: Speculation,
  ) {
    this.bytes = ByteText.of(sequence);
  }

  /**
   * Appends the id of a byte.
   * @param most bytes wanted behind it; 0 when the logits are not needed
   * @returns logits [260] of the next byte, empty for `most` 0
   */
  async append(id: number, most: number, signal?: AbortSignal): Promise<Float32Array> {
    this.bytes.append(id - BYTE_OFFSET);
    const next = this.pending.shift();
    if (next?.id === id) {
      this.speculation.counts.accepted++;
      if (this.pending.length === 0) this.learn(0, false);
      return next.logits;
    }
    if (next !== undefined) {
      const wrong = this.pending.length + 1;
      this.learn(wrong, true);
      this.pending = [];
      this.sequence.truncate(this.sequence.length - wrong);
    }
    if (most === 0) return this.sequence.append([id], { logits: "none", signal });
    return this.read(id, most, signal);
  }

  /** Forgets what was read ahead; the text then ends with the last byte appended. */
  end(): void {
    if (this.pending.length === 0) return;
    this.learn(this.pending.length, false);
    this.sequence.truncate(this.sequence.length - this.pending.length);
    this.pending = [];
  }

  private async read(id: number, most: number, signal?: AbortSignal): Promise<Float32Array> {
    const { counts } = this.speculation;
    const alone = await this.sequence.appendAlone?.(id, signal);
    if (alone) return alone;
    const cheap = most > 1 ? await this.cheapDraft(most - 1, signal) : null;
    const draft = most > 1 ? await this.bestDraft(most - 1, cheap, signal) : null;
    counts.runs++;
    if (draft === null) return this.sequence.append([id], { signal });
    const ids = [id, ...Array.from(draft.bytes, (byte) => byte + BYTE_OFFSET)];
    const { sequence } = this;
    const rows = await (sequence.appendDraft?.(ids, signal) ?? sequence.append(ids, { logits: "all", signal }));
    const logitsAt = (row: number) => rows.subarray(row * VOCABULARY_SIZE, (row + 1) * VOCABULARY_SIZE);
    const taken = rows.length / VOCABULARY_SIZE - 1;
    this.pending = ids.slice(1, 1 + taken).map((each, i) => ({ id: each, logits: logitsAt(i + 1) }));
    counts.drafted += draft.bytes.length;
    if (taken > 0) this.source = { draft, taken, isCut: taken < draft.bytes.length };
    else if (argmax(logitsAt(0)) === ids[1]) draft.learn(1, 0);
    else draft.learn(0, 1);
    return logitsAt(0);
  }

  /** Tells the draft how far it was right: all that was read ahead but the last `left` bytes. */
  private learn(left: number, isWrong: boolean): void {
    if (this.source === null) return;
    const { draft, taken, isCut } = this.source;
    draft.learn(taken - left, isWrong || (isCut && left === 0) ? 1 : 0);
    this.source = null;
  }

  /** The draft of a source that costs nothing which is worth most. */
  private async cheapDraft(most: number, signal?: AbortSignal): Promise<ValuedDraft | null> {
    let best: ValuedDraft | null = null;
    for (const drafter of this.speculation.drafters) {
      if (drafter.cost !== undefined) continue;
      const found = await drafter.draft(this.contextOf(most), signal);
      const draft = found && this.worthReading(drafter, found);
      if (draft !== null && draft.gain > (best?.gain ?? 0)) best = draft;
    }
    return best;
  }

  /** A draft of a costly source, where such a one is likely to be worth more than `cheap`; else that. */
  private async bestDraft(
    longest: number,
    cheap: ValuedDraft | null,
    signal?: AbortSignal,
  ): Promise<ValuedDraft | null> {
    const { drafters, record } = this.speculation;
    for (const drafter of drafters) {
      const { name, cost, usualGain } = drafter;
      if (cost === undefined || (cheap !== null && cheap.gain >= (usualGain ?? 0))) continue;
      // A costly draft is not made longer than it is worth.
      const most = usualGain === undefined ? record.worth(name, 0, longest, this.costsOf(drafter)).length : longest;
      if (most === 0) continue;
      const found = await drafter.draft(this.contextOf(most), signal);
      const draft = found && this.worthReading(drafter, found);
      if (draft !== null) return draft;
    }
    return cheap;
  }

  /** As much of a draft as is worth reading; null when nothing is. */
  private worthReading(drafter: Drafter, found: Draft): ValuedDraft | null {
    if ("gain" in found) return found;
    const { name } = drafter;
    const { bytes, strength } = found;
    const { record } = this.speculation;
    const { length, gain } = record.worth(name, strength, bytes.length, this.costsOf(drafter));
    const learn: ValuedDraft["learn"] = (right, wrong) => record.learn(name, strength, { right, wrong });
    return gain > 0 ? { bytes: bytes.subarray(0, length), gain, learn } : null;
  }

  private contextOf(most: number): DraftContext {
    const { bytes, sequence } = this;
    return { text: bytes.view, continuation: bytes, most, sequence };
  }

  private costsOf({ cost }: Drafter): DraftCosts {
    const { byte, run } = this.sequence.draftCosts ?? usualDraftCosts;
    return { byte: byte + (cost ?? 0), run };
  }
}

/** Bytes that grow at their end. */
class ByteText {
  private buffer: Uint8Array;
  private count = 0;

  private constructor(capacity: number) {
    this.buffer = new Uint8Array(capacity);
  }

  /** The bytes of a text in a model, special ids left out. */
  static of(sequence: TextState): ByteText {
    const text = new ByteText(sequence.length + 256);
    for (let i = 0; i < sequence.length; i++) {
      const id = sequence.idAt(i);
      if (id >= BYTE_OFFSET) text.append(id - BYTE_OFFSET);
    }
    return text;
  }

  /** The bytes, until the next append. */
  get view(): Uint8Array {
    return this.buffer.subarray(0, this.count);
  }

  append(byte: number): void {
    if (this.count === this.buffer.length) {
      const grown = new Uint8Array(2 * this.count);
      grown.set(this.buffer);
      this.buffer = grown;
    }
    this.buffer[this.count++] = byte;
  }
}
