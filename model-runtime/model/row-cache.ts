/**
 * The keys and values that the next row of a windowed network sees, as the row kernels read them: a copy, in their memory, of
 * the end of one `KvCache`. Rows that other runs append are copied when a single row follows them, each once.
 *
 * Shapes: K key/value heads, D head width, L layers, S slots; position p lies in slot p mod S.
 */
import type { TransformerConfig } from "../checkpoint/config";
import { slotsFor } from "../kernels/attention";
import type { RowMemory } from "../kernels/row-kernels";
import { AttentionSlots } from "./attention-slots";
import { HIDDEN_SCORE, type KvCache, slack } from "./kv-cache";

export class RowCache extends AttentionSlots {
  /** Lies at the cache that this one follows, and at no other. */
  private mark: object = {};
  /** Positions that are held: `first` included, `end` not. */
  private first = 0;
  private end = 0;

  /** @param config of a network with a window */
  constructor(memory: RowMemory, config: TransformerConfig) {
    // As many positions more than are seen as a `KvCache` takes back without running rows again.
    super(memory, config, config.window! + slack(config.window!));
  }

  /**
   * Makes ready for the next row of `cache`: copies what is missing of what that row sees.
   * @param floor first position the row may see
   */
  follow(cache: KvCache, floor: number): void {
    const [lowest, next] = [cache.firstVisible(floor), cache.length];
    const written = cache.writtenSince(this.mark);
    if (written === null) {
      this.mark = {};
      cache.writtenSince(this.mark);
      this.first = this.end = lowest;
      this.clear();
    } else this.end = Math.min(this.end, written, next);
    if (lowest < this.first || lowest > this.end) this.first = this.end = lowest;
    if (this.end < next) this.copy(cache, this.end, next);
    this.end = next;
    // The next row takes the slot of one so many positions before it.
    this.first = Math.max(this.first, next + 1 - this.slots);
    this.hideAllBut(lowest, next);
  }

  /** Takes keys and values [K, D] of the row that was made ready for, in one layer. */
  put(layer: number, keys: Float32Array, values: Float32Array): void {
    const { kvHeads, headDim } = this.shape;
    for (let head = 0; head < kvHeads; head++) this.putRow(layer, head, this.end, keys, values, head * headDim);
  }

  /**
   * Appends that row to the cache as well.
   * @param keysAndValues [L, 2, K, 1, D]
   */
  append(cache: KvCache, keysAndValues: Float32Array): void {
    cache.append(keysAndValues, 1);
    cache.writtenSince(this.mark);
    this.end = cache.length;
  }

  private copy(cache: KvCache, from: number, to: number): void {
    const { layers, kvHeads, headDim } = this.shape;
    for (let layer = 0; layer < layers; layer++)
      for (let head = 0; head < kvHeads; head++) {
        const { keys, values } = cache.rowsOf(layer, head, from, to);
        for (let position = from; position < to; position++)
          this.putRow(layer, head, position, keys, values, (position - from) * headDim);
      }
  }

  /** Takes the D values from index `at` on of keys and values. */
  private putRow(
    layer: number,
    head: number,
    position: number,
    keys: Float32Array,
    values: Float32Array,
    at: number,
  ): void {
    const slot = position % this.slots;
    this.putKey(layer, head, slot, keys, at);
    this.putValue(layer, head, slot, values, at);
  }

  /** The mask of a row at position `next` that sees the positions from `lowest` on, itself included. */
  private hideAllBut(lowest: number, next: number): void {
    this.slotsInUse = slotsFor(Math.min(this.slots, next + 1));
    const start = this.mask / 4;
    const mask = this.memory.floats.subarray(start, start + this.slotsInUse).fill(HIDDEN_SCORE);
    const [from, to] = [lowest % this.slots, (next % this.slots) + 1];
    if (from < to) mask.fill(0, from, to);
    else mask.fill(0, 0, to).fill(0, from);
  }
}
