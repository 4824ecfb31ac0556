/** What kinds of attention have in common, by whichever kernels. Shapes: N rows, H query heads, K key/value heads, D head width. */
import { slotsFor } from "../kernels/attention";
import type { RowSpan } from "../kernels/row-kernels";

export interface RowAttention {
  /** Queries [N, H D] -> attended [N, H D] in `out`; zeros where nothing is in sight. */
  apply(layer: number, queries: RowSpan, out: RowSpan, count: number): void;
}

/** Sizes of an attention. */
export interface AttentionShape {
  /** H */
  heads: number;
  /** K */
  keyHeads: number;
  /** D */
  headDim: number;
}

/** Positions of a stretch at least, and values that a row attends to: less is not worth waking up for. */
const LEAST_STRETCH = 64;
const LEAST_VALUES = 16384;

/** Into how many stretches positions are shared at most: two a thread, so that all end at about the same time whatever the number of key heads. */
export function mostStretches(threads: number): number {
  return 2 * threads;
}

/** Positions of a stretch. */
export function stretchOf(positions: number, threads: number): number {
  return slotsFor(Math.max(LEAST_STRETCH, positions / mostStretches(threads)));
}

/** Whether the attention of so many rows is not worth more than one thread. */
export function isSmallAttention({ keyHeads, headDim }: AttentionShape, positions: number, rows: number): boolean {
  return rows * keyHeads * headDim * positions < LEAST_VALUES;
}
