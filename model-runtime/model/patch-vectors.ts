/**
 * Keys and values of the patches that one row of the decoder looks at, as the row kernels read them.
 *
 * Shapes: P patches in sight, k vectors a patch, K key/value heads, D head width, S slots.
 */
import type { LocalConfig } from "../checkpoint/config";
import { slotsFor } from "../kernels/attention";
import type { RowMemory } from "../kernels/row-kernels";
import type { Feeds } from "../session";
import { AttentionSlots } from "./attention-slots";
import { HIDDEN_SCORE } from "./kv-cache";

/** A decoder's cross-attention: a layer by each name, to vectors of at most so many patches. */
export interface PatchAttention {
  names: readonly string[];
  config: LocalConfig;
  k: number;
  patches: number;
}

export class PatchVectors extends AttentionSlots {
  /** P k of the last row. */
  private vectors = 0;
  private readonly k: number;

  constructor(memory: RowMemory, { config, names, k, patches }: PatchAttention) {
    const { hiddenSize, crossAttentionHeads, crossAttentionKvHeads } = config;
    const shape = { layers: names.length, kvHeads: crossAttentionKvHeads, headDim: hiddenSize / crossAttentionHeads };
    super(memory, shape, k * patches);
    this.k = k;
  }

  /** Takes `cross` [P, layers, 2, k, K, D] and `patchMask` [1, P k]. */
  take({ cross, patchMask }: Feeds): void {
    const { k } = this;
    const { layers, kvHeads, headDim } = this.shape;
    const { floats } = this.memory;
    const rows = cross.data as Float32Array;
    const vectors = patchMask.data.length;
    // Patches behind those in sight are another text's, or were taken back.
    if (vectors < this.vectors) this.clear();
    this.vectors = vectors;
    this.slotsInUse = slotsFor(vectors);
    floats.fill(HIDDEN_SCORE, this.mask / 4, this.mask / 4 + this.slotsInUse);
    floats.set(patchMask.data as Float32Array, this.mask / 4);
    let from = 0;
    for (let patch = 0; patch < vectors; patch += k)
      for (let layer = 0; layer < layers; layer++)
        for (const isKey of [true, false])
          for (let slot = patch; slot < patch + k; slot++)
            for (let head = 0; head < kvHeads; head++, from += headDim)
              if (isKey) this.putKey(layer, head, slot, rows, from);
              else this.putValue(layer, head, slot, rows, from);
  }
}
