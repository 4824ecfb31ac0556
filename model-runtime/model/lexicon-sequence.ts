/** A text read by a latent transformer over pieces, as ids: BOS and bytes. */
import { BOS, BYTE_OFFSET, EOS, VOCABULARY_SIZE } from "../ids";
import { EOS_SYMBOL } from "../lexicon/open-word";
import type { LexiconReader } from "../lexicon/reader";
import type { PiecePath } from "./piece-latent";
import type { AppendOptions, TextState } from "./text-state";

export class LexiconSequence implements TextState {
  private hasBos = false;

  /** Use `LexiconModel.createSequence`. */
  constructor(
    private readonly reader: LexiconReader,
    /** What of the text is cached; shared with copies. */
    private readonly path: PiecePath,
  ) {}

  get length(): number {
    return this.reader.length + (this.hasBos ? 1 : 0);
  }

  get patchStarts(): readonly number[] {
    return this.hasBos ? [0, ...this.reader.pieceStarts.map((start) => start + 1)] : [];
  }

  get byteLength(): number {
    return this.path.byteLength;
  }

  idAt(position: number): number {
    return position === 0 ? BOS : this.reader.text[position - 1] + BYTE_OFFSET;
  }

  /** Logits are log-probabilities in nats; ids that are neither bytes nor EOS are impossible. */
  async append(ids: ArrayLike<number>, { logits = "last", signal }: AppendOptions = {}): Promise<Float32Array> {
    const before = this.length;
    const rows = new Float32Array(
      (logits === "all" ? ids.length : logits === "last" ? Math.min(ids.length, 1) : 0) * VOCABULARY_SIZE,
    );
    try {
      for (let i = 0; i < ids.length; i++) {
        this.push(ids[i]);
        if (logits === "all" || (logits === "last" && i === ids.length - 1)) {
          const probabilities = await this.reader.distribution(signal);
          const row = rows.subarray(logits === "all" ? i * VOCABULARY_SIZE : 0);
          row.fill(Number.NEGATIVE_INFINITY, 0, BYTE_OFFSET);
          row[EOS] = Math.log(probabilities[EOS_SYMBOL]);
          for (let byte = 0; byte < 256; byte++) row[BYTE_OFFSET + byte] = Math.log(probabilities[byte]);
        }
      }
    } catch (error) {
      this.truncate(before);
      throw error;
    }
    return rows;
  }

  truncate(length: number): void {
    if (!(length >= 0 && length <= this.length)) throw new RangeError(`text has ${this.length} ids, not ${length}`);
    this.hasBos = length > 0;
    this.reader.truncate(Math.max(0, length - 1));
  }

  fork(): LexiconSequence {
    const copy = new LexiconSequence(this.reader.fork(), this.path);
    copy.hasBos = this.hasBos;
    return copy;
  }

  private push(id: number): void {
    const isByte = id >= BYTE_OFFSET && id < VOCABULARY_SIZE;
    if (this.hasBos ? !isByte : id !== BOS)
      throw new RangeError(`id ${id} at position ${this.length}: a text of a lexicon model is BOS and bytes`);
    if (this.hasBos) this.reader.append([id - BYTE_OFFSET]);
    else this.hasBos = true;
  }
}
