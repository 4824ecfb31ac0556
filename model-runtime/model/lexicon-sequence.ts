/** A text read by a latent transformer over pieces, as ids: BOS and bytes. Shapes: N ids of one append. */
import type { DraftCosts } from "../generation/draft-record";
import { BOS, BYTE_OFFSET, EOS, VOCABULARY_SIZE } from "../ids";
import { EOS_SYMBOL } from "../lexicon/open-word";
import type { LexiconReader } from "../lexicon/reader";
import type { AppendOptions, GoOn, TextState } from "./text-state";

/** Bytes that are read together: as many as ask for a few dozen positions. */
const TOGETHER = 96;

export class LexiconSequence implements TextState {
  private hasBos = false;

  /** Use `LexiconModel.createSequence`. */
  constructor(private readonly reader: LexiconReader) {}

  get length(): number {
    return this.reader.length + (this.hasBos ? 1 : 0);
  }

  get patchStarts(): readonly number[] {
    return this.hasBos ? [0, ...this.reader.pieceStarts.map((start) => start + 1)] : [];
  }

  get byteLength(): number {
    return this.reader.byteLength;
  }

  idAt(position: number): number {
    return position === 0 ? BOS : this.reader.text[position - 1] + BYTE_OFFSET;
  }

  /** Logits are log-probabilities in nats; ids that are neither bytes nor EOS are impossible. */
  async append(ids: ArrayLike<number>, { logits = "last", signal }: AppendOptions = {}): Promise<Float32Array> {
    const before = this.length;
    const bytes = this.bytesOf(ids);
    if (logits === "none" || ids.length === 0) {
      this.hasBos ||= ids.length > 0;
      this.reader.append(bytes);
      return new Float32Array(0);
    }
    try {
      const hadBos = this.hasBos;
      this.hasBos = true;
      if (logits === "last") {
        this.reader.append(bytes);
        return logitsOf(await this.reader.distribution(signal));
      }
      const rows = new Float32Array(ids.length * VOCABULARY_SIZE);
      let row = 0;
      if (!hadBos) rows.set(logitsOf(await this.reader.distribution(signal)), VOCABULARY_SIZE * row++);
      for (let from = 0; from < bytes.length; from += TOGETHER)
        for (const each of await this.reader.distributions(bytes.subarray(from, from + TOGETHER), signal))
          rows.set(logitsOf(each), VOCABULARY_SIZE * row++);
      return rows;
    } catch (error) {
      this.truncate(before);
      throw error;
    }
  }

  get draftCosts(): DraftCosts {
    return this.reader.draftCosts;
  }

  async appendAlone(id: number, signal?: AbortSignal): Promise<Float32Array | null> {
    if (!this.hasBos) return null;
    const alone = await this.reader.distributionAlone(this.bytesOf([id])[0], signal);
    return alone && logitsOf(alone);
  }

  async foresee(id: number, goOn: GoOn, signal?: AbortSignal) {
    return this.hasBos ? this.reader.foresee(this.bytesOf([id])[0], goOn, signal) : null;
  }

  async appendDraft(ids: ArrayLike<number>, signal?: AbortSignal, least = 1): Promise<Float32Array> {
    if (!this.hasBos) return this.append(Array.prototype.slice.call(ids, 0, 1), { logits: "all", signal });
    const distributions = await this.reader.distributionsOfDraft(this.bytesOf(ids), least, signal);
    const rows = new Float32Array(distributions.length * VOCABULARY_SIZE);
    distributions.forEach((distribution, row) => {
      rows.set(logitsOf(distribution), row * VOCABULARY_SIZE);
    });
    return rows;
  }

  truncate(length: number): void {
    if (!(length >= 0 && length <= this.length)) throw new RangeError(`text has ${this.length} ids, not ${length}`);
    this.hasBos = length > 0;
    this.reader.truncate(Math.max(0, length - 1));
  }

  fork(): LexiconSequence {
    const copy = new LexiconSequence(this.reader.fork());
    copy.hasBos = this.hasBos;
    return copy;
  }

  /** The bytes that ids append to the text. */
  private bytesOf(ids: ArrayLike<number>): Uint8Array {
    const first = this.hasBos ? 0 : 1;
    for (let i = 0; i < ids.length; i++) {
      const fits = i < first ? ids[i] === BOS : ids[i] >= BYTE_OFFSET && ids[i] < VOCABULARY_SIZE;
      if (!fits)
        throw new RangeError(`id ${ids[i]} at position ${this.length + i}: a text of a lexicon model is BOS and bytes`);
    }
    return Uint8Array.from({ length: Math.max(0, ids.length - first) }, (_, i) => ids[first + i] - BYTE_OFFSET);
  }
}

/** Probabilities of bytes and EOS [257] -> log-probabilities of ids [260]. */
function logitsOf(probabilities: Float64Array): Float32Array {
  const row = new Float32Array(VOCABULARY_SIZE).fill(Number.NEGATIVE_INFINITY, 0, BYTE_OFFSET);
  row[EOS] = Math.log(probabilities[EOS_SYMBOL]);
  for (let byte = 0; byte < 256; byte++) row[BYTE_OFFSET + byte] = Math.log(probabilities[byte]);
  return row;
}
