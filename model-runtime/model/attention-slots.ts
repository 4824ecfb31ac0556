/**
 * Keys and values of the positions that a row attends to, in the row kernels' memory and as those read them.
 *
 * Shapes: K key/value heads, D head width, S slots.
 */
import type { TransformerConfig } from "../checkpoint/config";
import { putKey, putValue, slotsFor } from "../kernels/attention";
import type { RowMemory } from "../kernels/row-kernels";

/** What each position has of keys, and of values. */
export type HeadShape = Pick<TransformerConfig, "layers" | "kvHeads" | "headDim">;

export class AttentionSlots {
  /** S. */
  readonly slots: number;
  /** Address of [S] added to the scores of the next row. */
  readonly mask: number;
  /** How many of the slots the next row's attention goes over, from the first on; a multiple of 16. */
  slotsInUse = 0;
  /** Addresses of keys [layers, K, S / 16, D, 16] and values [layers, K, D / 16, S, 16]. */
  private readonly keys: number;
  private readonly values: number;
  /** Values of all keys. */
  private readonly size: number;

  /** @param positions that are held at most */
  protected constructor(
    protected readonly memory: RowMemory,
    protected readonly shape: HeadShape,
    positions: number,
  ) {
    this.slots = slotsFor(positions);
    this.size = shape.layers * shape.kvHeads * this.slots * shape.headDim;
    this.keys = memory.allocateFloats(this.size);
    this.values = memory.allocateFloats(this.size);
    this.mask = memory.allocateFloats(this.slots);
  }

  /** Address of one head's keys, as `attentionScores` reads them. */
  keysOf(layer: number, head: number): number {
    return this.keys + this.offsetOf(layer, head);
  }

  /** Address of one head's values, as `weightedSum` reads them. */
  valuesOf(layer: number, head: number): number {
    return this.values + this.offsetOf(layer, head);
  }

  /** Writes a key, the D values of `from` from index `at` on. */
  protected putKey(layer: number, head: number, slot: number, from: Float32Array, at: number): void {
    putKey(this.memory.floats, this.keysOf(layer, head), slot, from, at, this.shape.headDim);
  }

  /** Writes a value likewise. */
  protected putValue(layer: number, head: number, slot: number, from: Float32Array, at: number): void {
    putValue(this.memory.floats, this.valuesOf(layer, head), slot, this.slots, from, at, this.shape.headDim);
  }

  /** Forgets what other texts left: a hidden slot counts 0 times what lies in it, and 0 times infinity is no number. */
  protected clear(): void {
    for (const address of [this.keys, this.values]) this.memory.floats.fill(0, address / 4, address / 4 + this.size);
  }

  private offsetOf(layer: number, head: number): number {
    return 4 * (layer * this.shape.kvHeads + head) * this.slots * this.shape.headDim;
  }
}
