/**
 * Keys and values of the positions that rows attend to, in the row kernels' memory and as those read them.
 *
 * Shapes: R rows, K key/value heads, D head width, S slots.
 */
import type { TransformerConfig } from "../checkpoint/config";
import { slotsFor } from "../kernels/attention";
import type { NativeJobArgument } from "../kernels/native-jobs";
import { type Job, type RowMemory, setArguments } from "../kernels/row-kernels";
import type { Feeds } from "../session";
import { stretchOf } from "./attention-shape";
import { HIDDEN_SCORE } from "./kv-cache";

/** What each position has of keys, and of values. */
export type HeadShape = Pick<TransformerConfig, "layers" | "kvHeads" | "headDim">;

export class AttentionSlots {
  /** S. */
  readonly slots: number;
  /** Address of [R, S] added to the scores of the next rows. */
  readonly mask: number;
  /** Address of where each of the next rows' sight ends [R]: it sees none of the slots from there on, a multiple of 16. */
  readonly ends: number;
  /** Address of how many of the slots are in use and how many are a stretch of them, as the native kernels read it. */
  readonly sight: number;
  private readonly sightValues: Int32Array;
  /** Bytes of a number of keys and values: 4, or 1 where they are whole numbers (byte-keys.ts). */
  readonly numberBytes: number;
  /** Addresses of keys [layers, K, S / 16, D, 16] and values [layers, K, D / 16, S, 16]. */
  private readonly keys: number;
  private readonly values: number;
  protected readonly endValues: Int32Array;
  /** Of all keys. */
  private readonly bytes: number;
  /** Addresses of the scales of keys and of values [layers, K, S], where they are whole numbers. */
  private readonly keyScales: number;
  private readonly valueScales: number;
  /** Writes rows as whole numbers, and where its arguments are; those of float32 lie as the kernels in WebAssembly write them. */
  private readonly nativePut: { job: Job<NativeJobArgument<"putRows">>; places: number[] } | null;

  /**
   * @param positions that are held at most
   * @param rows R
   * @param areBytes whether keys and values are whole numbers; for the native kernels
   */
  constructor(
    protected readonly memory: RowMemory,
    protected readonly shape: HeadShape,
    positions: number,
    rows: number,
    areBytes = false,
  ) {
    this.slots = slotsFor(positions);
    this.numberBytes = areBytes ? 1 : 4;
    this.bytes = shape.layers * shape.kvHeads * this.headBytes;
    this.keys = memory.allocate(this.bytes);
    this.values = memory.allocate(this.bytes);
    const scales = areBytes ? shape.layers * shape.kvHeads * this.slots : 0;
    this.keyScales = memory.allocateFloats(scales);
    this.valueScales = memory.allocateFloats(scales);
    const job = areBytes
      ? memory.nativeJob("putRows", { slots: this.slots, headDim: shape.headDim, numberBytes: this.numberBytes })
      : null;
    this.nativePut = job && {
      job,
      places: job.places("keys", "values", "tiles", "strips", "slot", "keyScales", "valueScales"),
    };
    this.mask = memory.allocateFloats(rows * this.slots);
    this.ends = memory.allocateFloats(rows);
    this.endValues = memory.integers(this.ends, rows);
    this.sight = memory.allocateFloats(2);
    this.sightValues = memory.integers(this.sight, 2);
  }

  /** How many of the slots the next rows' attention goes over, from the first on; a multiple of 16. */
  get slotsInUse(): number {
    return this.sightValues[0];
  }

  protected useSlots(count: number): void {
    this.sightValues[0] = count;
    this.sightValues[1] = stretchOf(count, this.memory.team.threads);
  }

  /** Bytes between the keys of two heads, or their values. */
  get headBytes(): number {
    return this.numberBytes * this.slots * this.shape.headDim;
  }

  /** The slots in use of the mask of a row. */
  protected maskOf(row: number): Float32Array {
    const start = this.mask / 4 + row * this.slots;
    return this.memory.floats.subarray(start, start + this.slotsInUse);
  }

  /** Takes the rows from `first` on of a mask [all, slots in sight] as the next ones'. */
  protected takeMasks({ data, shape: [, sight] }: Feeds[string], first: number, rows: number): void {
    this.useSlots(slotsFor(sight));
    this.endValues.fill(this.slotsInUse);
    for (let row = 0; row < rows; row++) {
      const start = (first + row) * sight;
      this.maskOf(row)
        .fill(HIDDEN_SCORE)
        .set((data as Float32Array).subarray(start, start + sight));
    }
  }

  /** Address of one head's keys, as `attentionScores` reads them. */
  keysOf(layer: number, head: number): number {
    return this.keys + this.offsetOf(layer, head);
  }

  /** Address of one head's values, as `weightedSum` reads them. */
  valuesOf(layer: number, head: number): number {
    return this.values + this.offsetOf(layer, head);
  }

  /** Addresses of the scales of one head's keys and values. */
  scalesOf(layer: number, head: number): { keys: number; values: number } {
    const offset = 4 * (layer * this.shape.kvHeads + head) * this.slots;
    return { keys: this.keyScales + offset, values: this.valueScales + offset };
  }

  /**
   * Writes keys and values [rows, D] at a slot and those behind it; what was given becomes what lies there.
   * @param keys address of theirs; `values` likewise
   */
  protected putRows(layer: number, head: number, slot: number, rows: number, keys: number, values: number): void {
    const { memory, slots } = this;
    const { headDim } = this.shape;
    const [tiles, strips] = [this.keysOf(layer, head), this.valuesOf(layer, head)];
    if (this.nativePut === null) {
      memory.kernels.putRows(keys, values, rows, tiles, strips, slot, slots, headDim);
      return;
    }
    const { keys: keyScales, values: valueScales } = this.scalesOf(layer, head);
    const { job, places } = this.nativePut;
    setArguments(job, places, keys, values, tiles, strips, slot, keyScales, valueScales);
    job.run(rows, true);
  }

  /** Forgets what other texts left: a hidden slot counts 0 times what lies in it, and 0 times infinity is no number. */
  protected clear(): void {
    for (const address of [this.keys, this.values]) this.memory.bytes(address, this.bytes).fill(0);
  }

  private offsetOf(layer: number, head: number): number {
    return (layer * this.shape.kvHeads + head) * this.headBytes;
  }
}
