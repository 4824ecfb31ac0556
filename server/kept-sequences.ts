/** The texts that stay inside the model between requests, so that only what changed in them is read again. */

/** What is needed of a `TextState`. */
export interface KeptSequence {
  readonly length: number;
  idAt(position: number): number;
  truncate(length: number): void;
}

/** Texts kept: going to and fro between two files costs nothing, and the caches of more would cost memory. */
const KEPT = 2;

export class KeptSequences<S extends KeptSequence> {
  /** In the order of use, the last one used at the end. */
  private readonly kept: S[] = [];

  constructor(private readonly create: () => S) {}

  /**
   * The kept text that has most in common with `ids`, cut back to that; a new one when that is less than half.
   *
   * @returns the text, the ids that it lacks (at least the last one, so that its logits are computed), the number it has
   */
  take(ids: Uint16Array): { sequence: S; prompt: Uint16Array; reused: number } {
    let best: S | null = null;
    let common = -1;
    for (const sequence of this.kept) {
      const length = commonLength(sequence, ids);
      if (length >= common) [best, common] = [sequence, length];
    }
    if (best === null || common < ids.length / 2) {
      best = this.kept.length < KEPT ? this.create() : this.kept[0];
      common = commonLength(best, ids);
    }
    this.kept.splice(0, this.kept.length, ...this.kept.filter((sequence) => sequence !== best), best);
    const reused = Math.min(common, ids.length - 1);
    best.truncate(reused);
    return { sequence: best, prompt: ids.subarray(reused), reused };
  }
}

function commonLength(sequence: KeptSequence, ids: Uint16Array): number {
  const most = Math.min(sequence.length, ids.length);
  let length = 0;
  while (length < most && sequence.idAt(length) === ids[length]) length++;
  return length;
}
