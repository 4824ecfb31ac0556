/**
 * Keys and values of the patches that one row of the decoder looks at, as the row kernels read them.
 *
 * Shapes: P patches in sight, k vectors a patch, K key/value heads, D head width, S slots.
 */
import type { LocalConfig } from "../checkpoint/config";
import { putKey, putValue, slotsFor } from "../kernels/attention";
import type { RowMemory } from "../kernels/row-kernels";
import type { Feeds } from "../session";
import { HIDDEN_SCORE } from "./kv-cache";

/** A decoder's cross-attention: a layer by each name, to vectors of at most so many patches. */
export interface PatchAttention {
  names: readonly string[];
  config: LocalConfig;
  k: number;
  patches: number;
}

export class PatchVectors {
  readonly slots: number;
  slotsInUse = 0;
  readonly mask: number;
  private readonly kvHeads: number;
  private readonly headDim: number;
  private readonly keys: number;
  private readonly values: number;
  /** P k of the last row. */
  private vectors = 0;

  constructor(
    private readonly memory: RowMemory,
    private readonly cross: PatchAttention,
  ) {
    const { config, names, k, patches } = cross;
    this.kvHeads = config.crossAttentionKvHeads;
    this.headDim = config.hiddenSize / config.crossAttentionHeads;
    this.slots = slotsFor(k * patches);
    const size = names.length * this.kvHeads * this.slots * this.headDim;
    this.keys = memory.allocateFloats(size);
    this.values = memory.allocateFloats(size);
    this.mask = memory.allocateFloats(this.slots);
  }

  /** Takes `cross` [P, layers, 2, k, K, D] and `patchMask` [1, P k]. */
  take({ cross, patchMask }: Feeds): void {
    const { kvHeads, headDim } = this;
    const { floats } = this.memory;
    const { names, k } = this.cross;
    const rows = cross.data as Float32Array;
    const vectors = patchMask.data.length;
    if (vectors < this.vectors) this.clear();
    this.vectors = vectors;
    this.slotsInUse = slotsFor(vectors);
    floats.fill(HIDDEN_SCORE, this.mask / 4, this.mask / 4 + this.slotsInUse);
    floats.set(patchMask.data as Float32Array, this.mask / 4);
    let from = 0;
    for (let patch = 0; patch < vectors; patch += k)
      for (let layer = 0; layer < names.length; layer++)
        for (const isKey of [true, false])
          for (let slot = patch; slot < patch + k; slot++)
            for (let head = 0; head < kvHeads; head++, from += headDim)
              if (isKey) putKey(floats, this.keysOf(layer, head), slot, rows, from, headDim);
              else putValue(floats, this.valuesOf(layer, head), slot, this.slots, rows, from, headDim);
  }

  /** Forgets patches behind those in sight, which are another text's or were taken back (`RowCache`). */
  private clear(): void {
    const { names } = this.cross;
    const size = names.length * this.kvHeads * this.slots * this.headDim;
    for (const address of [this.keys, this.values]) this.memory.floats.fill(0, address / 4, address / 4 + size);
  }

  keysOf(layer: number, head: number): number {
    return this.keys + 4 * (layer * this.kvHeads + head) * this.slots * this.headDim;
  }

  valuesOf(layer: number, head: number): number {
    return this.values + 4 * (layer * this.kvHeads + head) * this.slots * this.headDim;
  }
}
