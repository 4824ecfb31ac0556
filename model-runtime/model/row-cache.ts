/**
 * The keys and values that the next rows of a network see, as the row kernels read them: a copy, in their memory, of the end of one
 * `KvCache`. Rows that other runs append are copied when rows are run that see them, each once; what texts have in common is not
 * copied when another one's turn comes.
 *
 * Shapes: K key/value heads, D head width, L layers, N rows of a run, S slots; position p lies in slot p mod S.
 */
import type { TransformerConfig } from "../checkpoint/config";
import { slotsFor } from "../kernels/attention";
import type { RowMemory } from "../kernels/row-kernels";
import { AttentionSlots } from "./attention-slots";
import { hasByteKeys } from "./byte-keys";
import { HIDDEN_SCORE, type KvCache, MOST_POSITIONS, type RowView, slack } from "./kv-cache";

/** Positions that are copied at a time. */
const COPIED = 256;

/** Instead of a row's name: zeros lie in a slot, or a row that no cache has. */
const ZEROS = -1;
const NAMELESS = -2;

export class RowCache extends AttentionSlots {
  private readonly names: (number | undefined)[];
  /** The next row's position, and the name of the row before it: texts that have this row have the same rows before it. */
  private next = 0;
  private last: number | undefined;
  /** Slots from here on may hold what is another text's, or was taken back. */
  private clean = 0;
  private readonly isWindowed: boolean;
  /** Address of room for keys [COPIED, D] and as many values. */
  private readonly copied: number;

  /** @param rows N at most */
  constructor(memory: RowMemory, config: TransformerConfig, rows: number) {
    // A window's are few, and a longer text's many: reading them would take as long as reading the weights.
    super(memory, config, slotsOf(config, rows), rows, memory.isNative && hasByteKeys(config));
    this.isWindowed = config.window !== null;
    this.names = new Array(this.slots).fill(ZEROS);
    this.copied = memory.allocateFloats(2 * COPIED * config.headDim);
  }

  /** Whether so many rows may come next. */
  hasRoomFor(cache: KvCache, rows: number): boolean {
    return this.isWindowed || cache.length + rows <= this.slots;
  }

  /** Makes ready for the next rows of `cache`: copies what is missing of what they see. */
  follow(cache: KvCache, views: readonly RowView[]): void {
    const goesOn = this.last !== undefined && this.next <= cache.length && cache.nameOf(this.next - 1) === this.last;
    if (!goesOn) this.clean = 0;
    const next = cache.length;
    const lowest = Math.min(next, ...views.map(({ from }) => from));
    this.goOn(cache, next);
    const isHeld = (position: number) => this.names[position % this.slots] === cache.nameOf(position);
    for (let from = lowest; from < next; from++) {
      if (isHeld(from)) continue;
      let to = from + 1;
      while (to < next && !isHeld(to)) to++;
      this.copy(cache, from, to);
      from = to;
    }
    this.useSlots(slotsFor(Math.min(this.slots, next + views.length)));
    this.wipe(lowest, next + views.length);
    views.forEach((view, row) => {
      this.hideAllBut(view, row);
    });
  }

  /**
   * Takes keys and values [K, D] of one of the rows that were made ready for, in one layer.
   * @param keys address of theirs; `values` likewise
   */
  put(layer: number, row: number, keys: number, values: number): void {
    const { kvHeads, headDim } = this.shape;
    const slot = this.slotOf(row);
    for (let head = 0; head < kvHeads; head++) {
      const at = 4 * head * headDim;
      this.putRows(layer, head, slot, 1, keys + at, values + at);
    }
  }

  /** Slots of the rows that were made ready for. */
  slotsOfRows(count: number): number[] {
    return Array.from({ length: count }, (_, row) => this.slotOf(row));
  }

  /**
   * Appends the first `kept` of these rows to the cache as well.
   * @param keysAndValues [L, 2, K, N, D]
   * @param rows N
   */
  append(cache: KvCache, keysAndValues: Float32Array, kept: number, rows: number): void {
    const from = this.next;
    cache.append(keysAndValues, kept, rows);
    for (let row = 0; row < rows; row++)
      this.names[(from + row) % this.slots] = row < kept ? cache.nameOf(from + row) : NAMELESS;
    // What is not kept was taken back.
    if (kept < rows) this.clean = 0;
    this.goOn(cache, from + kept);
  }

  private goOn(cache: KvCache, next: number): void {
    this.next = next;
    this.last = cache.nameOf(next - 1);
  }

  private copy(cache: KvCache, from: number, to: number): void {
    const { copied } = this;
    const { layers, kvHeads, headDim } = this.shape;
    const { floats } = this.memory;
    for (let start = from, end = from; start < to; start = end) {
      // Up to where slots begin anew.
      end = Math.min(to, start + COPIED, start + this.slots - (start % this.slots));
      const values = copied + 4 * (end - start) * headDim;
      for (let layer = 0; layer < layers; layer++)
        for (let head = 0; head < kvHeads; head++) {
          const rows = cache.rowsOf(layer, head, start, end);
          floats.set(rows.keys, copied / 4);
          floats.set(rows.values, values / 4);
          this.putRows(layer, head, start % this.slots, end - start, copied, values);
        }
      for (let position = start; position < end; position++) this.names[position % this.slots] = cache.nameOf(position);
    }
  }

  /**
   * Leaves nothing in slots in use that no row sees and that may be another text's: a hidden slot counts 0 times what lies in it, and
   * 0 times infinity is no number.
   * @param lowest first position in sight; `end` is behind the last one
   */
  private wipe(lowest: number, end: number): void {
    const { layers, kvHeads, headDim } = this.shape;
    this.memory.floats.fill(0, this.copied / 4, this.copied / 4 + headDim);
    for (let slot = this.clean; slot < this.slotsInUse; slot++) {
      const position = lowest + ((((slot - lowest) % this.slots) + this.slots) % this.slots);
      if (position < end || this.names[slot] === ZEROS) continue;
      for (let layer = 0; layer < layers; layer++)
        for (let head = 0; head < kvHeads; head++) this.putRows(layer, head, slot, 1, this.copied, this.copied);
      this.names[slot] = ZEROS;
    }
    this.clean = Math.max(this.clean, this.slotsInUse);
  }

  /** Of one of the rows that were made ready for. */
  private slotOf(row: number): number {
    return (this.next + row) % this.slots;
  }

  /** Writes the mask of a row, and where its sight ends. */
  private hideAllBut({ from, to, rows }: RowView, row: number): void {
    const mask = this.maskOf(row).fill(HIDDEN_SCORE);
    let last = 0;
    if (from < to) {
      const [first, end] = [from % this.slots, ((to - 1) % this.slots) + 1];
      if (first < end) mask.fill(0, first, end);
      else mask.fill(0, 0, end).fill(0, first);
      last = first < end ? end : this.slots;
    }
    for (const each of rows) {
      const slot = this.slotOf(each);
      mask[slot] = 0;
      if (slot >= last) last = slot + 1;
    }
    this.endValues[row] = slotsFor(last);
  }
}

/** Slots of a network: as many positions more than are seen as a `KvCache` takes back without running rows again. */
function slotsOf({ window }: TransformerConfig, rows: number): number {
  return window === null ? MOST_POSITIONS : window + slack(window) + rows - 1;
}
