/**
 * Keys and values of the patches that rows of the decoder look at, as the row kernels read them.
 *
 * Shapes: N rows, P patches in sight, k vectors a patch, K key/value heads, D head width, S slots.
 */
import type { LocalConfig } from "../checkpoint/config";
import type { RowMemory } from "../kernels/row-kernels";
import type { Feeds } from "../session";
import { AttentionSlots } from "./attention-slots";
import { MOST_BYTES } from "./byte-chunk";

/** A decoder's cross-attention: a layer by each name, to vectors of at most so many patches. */
export interface PatchAttention {
  names: readonly string[];
  config: LocalConfig;
  k: number;
  patches: number;
}

export class PatchVectors extends AttentionSlots {
  /** P k of the last rows. */
  private vectors = 0;
  private readonly k: number;
  private taken: Feeds[string]["data"] | null = null;
  /** Address of what was given: [P, layers, 2, k, K, D]. */
  private readonly given: number;

  /** @param rows N at most, each of which may see other patches */
  constructor(memory: RowMemory, { config, names, k, patches }: PatchAttention, rows: number) {
    const { hiddenSize, crossAttentionHeads, crossAttentionKvHeads } = config;
    const shape = { layers: names.length, kvHeads: crossAttentionKvHeads, headDim: hiddenSize / crossAttentionHeads };
    // The native kernels run a part of what is given at a time.
    const given = memory.isNative ? Math.max(rows, MOST_BYTES) : rows;
    super(memory, shape, k * (patches + given - 1), rows);
    this.k = k;
    this.given = memory.allocateFloats(2 * names.length * this.slots * crossAttentionKvHeads * shape.headDim);
  }

  /** Whether so many patches are in sight as there is room for. */
  hasRoomFor({ patchMask }: Feeds): boolean {
    return patchMask.shape[1] <= this.slots;
  }

  /** Takes `cross` [P, layers, 2, k, K, D], and of `patchMask` [all, P k] the rows `first` to `first + rows`. */
  take({ cross, patchMask }: Feeds, first: number, rows: number): void {
    const { k } = this;
    const { layers, kvHeads, headDim } = this.shape;
    const [, vectors] = patchMask.shape;
    // Patches behind those in sight are another text's, or were taken back.
    if (vectors < this.vectors) this.clear();
    this.vectors = vectors;
    this.takeMasks(patchMask, first, rows);
    // Those of a question's further rows are there, unless another text has asked since.
    if (first > 0 && cross.data === this.taken) return;
    this.taken = cross.data;
    this.memory.floats.set(cross.data as Float32Array, this.given / 4);
    const headsBytes = 4 * kvHeads * headDim;
    const kindBytes = k * headsBytes;
    for (let patch = 0; patch < vectors / k; patch++)
      for (let layer = 0; layer < layers; layer++)
        for (let vector = 0; vector < k; vector++)
          for (let head = 0; head < kvHeads; head++) {
            const keys =
              this.given + (patch * layers + layer) * 2 * kindBytes + vector * headsBytes + 4 * head * headDim;
            this.putRows(layer, head, patch * k + vector, 1, keys, keys + kindBytes);
          }
  }
}
