/**
 * The texts that stay inside the model between requests, so that only what changed in them is read again: a few, with
 * shared beginnings, in a bounded amount of memory, least recently used first.
 */

/** What is needed of a `TextState`. */
export interface KeptSequence {
  readonly length: number;
  /** Bytes held by this text alone. */
  readonly byteLength: number;
  idAt(position: number): number;
  truncate(length: number): void;
  fork(): this | KeptSequence;
}

/** Bytes of all kept texts together, beside what a model keeps for all of them; the one in use is kept whatever it takes. */
export const KEPT_BYTES = 128 * 2 ** 20;
/** Texts kept: files that one goes to and fro between, and states before and after edits. */
const MOST_KEPT = 12;
/** Ids at a text's end that are cut off for another one; where more would be lost, a copy is cut. */
const MOST_CUT = 256;
/** Ids in common that are worth a copy however long the text is: they take longer to read than to copy. */
const LEAST_COPIED = 256;

export class KeptSequences<S extends KeptSequence> {
  /** In the order of use, the last one used at the end. */
  private kept: S[] = [];

  constructor(
    private readonly create: () => S,
    private readonly mostBytes = KEPT_BYTES,
  ) {}

  /** Bytes held by all texts. */
  get byteLength(): number {
    return this.kept.reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  /** Number of texts. */
  get count(): number {
    return this.kept.length;
  }

  /**
   * The kept text that has most in common with `ids`, cut back to that, or a copy of it; a new one when that is little, and
   * less than half.
   *
   * @returns the text, the ids that it lacks (at least the last one, so that its logits are computed), the number it has
   */
  take(ids: Uint16Array): { sequence: S; prompt: Uint16Array; reused: number } {
    let best: S | null = null;
    let common = 0;
    for (const sequence of this.kept) {
      const length = commonLength(sequence, ids);
      if (best === null || length >= common) [best, common] = [sequence, length];
    }
    const isUseful = best !== null && (common >= ids.length / 2 || common >= LEAST_COPIED);
    let taken: S;
    if (best === null || !isUseful) taken = this.create();
    else taken = best.length - common > MOST_CUT ? (best.fork() as S) : best;
    this.kept = [...this.kept.filter((sequence) => sequence !== taken), taken];
    const reused = isUseful ? Math.min(common, ids.length - 1) : 0;
    taken.truncate(reused);
    while (this.kept.length > 1 && (this.kept.length > MOST_KEPT || this.byteLength > this.mostBytes))
      this.kept.shift();
    return { sequence: taken, prompt: ids.subarray(reused), reused };
  }
}

function commonLength(sequence: KeptSequence, ids: Uint16Array): number {
  const most = Math.min(sequence.length, ids.length);
  let length = 0;
  while (length < most && sequence.idAt(length) === ids[length]) length++;
  return length;
}
