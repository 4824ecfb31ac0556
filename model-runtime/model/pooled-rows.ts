/**
 * Patches as rows of the latent transformer, by the row kernels, as `latentNodes` makes them: pooled states, projected to k vectors
 * a patch, which look at the states of the patch's bytes.
 *
 * Shapes: N patches, B bytes of theirs, k vectors a patch, h local width, E latent width.
 */

import type { BltConfig } from "../checkpoint/config";
import type { RowSpan } from "../kernels/row-kernels";
import type { Feeds } from "../session";
import type { RowAttention } from "./attention-shape";
import { AttentionSlots } from "./attention-slots";
import { crossLayerNames } from "./cross-attention";
import { encoderStateLayers } from "./networks";
import { crossAttentionOf } from "./row-attention";
import type { RowSource, RowTools } from "./row-network";
import { type RowLinear, SPARE_OUTPUTS } from "./row-product";

/** Bytes of patches that are run together at most, by two rows and by many; longer ones are onnxruntime's. */
const MOST_BYTES = { few: 96, many: 1024 };

export function pooledPatches(config: BltConfig): (tools: RowTools) => RowSource {
  return (tools) => new PooledPatches(tools, config);
}

interface Look {
  queryNorm: number;
  keyNorm: number;
  query: RowLinear;
  keysAndValues: RowLinear;
  output: RowLinear;
}

class PooledPatches implements RowSource {
  private readonly project: RowLinear;
  private readonly join: RowLinear | null;
  private readonly looks: Look[];
  private readonly bytes: ByteStates;
  private readonly attention: RowAttention;
  /** Patches' pooled states; their vectors [N k, h]; what a product reads and makes of vectors, or of bytes' states [B, h]. */
  private readonly pooled: RowSpan;
  private readonly vectors: RowSpan;
  private readonly narrow: RowSpan;
  private readonly wide: RowSpan;
  private readonly states: RowSpan;
  private readonly mostBytes: number;

  constructor(
    private readonly tools: RowTools,
    private readonly config: BltConfig,
  ) {
    const { memory, linears, norm, rows } = tools;
    const { encoder, latent, crossAttentionK: k } = config;
    const { hiddenSize, crossAttentionHeads: heads, crossAttentionKvHeads: kvHeads } = encoder;
    this.project = linears.load("model.local_encoder.patch_embedding_projection");
    this.join =
      k * hiddenSize === latent.hiddenSize ? null : linears.load("model.global_transformer.token_embedding_projection");
    const names = crossLayerNames("model.local_encoder", encoder);
    this.looks = encoderStateLayers(config).map((layer) => {
      const name = encoder.crossAttentionAllLayers ? names[layer] : names[0];
      return {
        queryNorm: norm(`${name}.q_norm`),
        keyNorm: norm(`${name}.k_norm`),
        query: linears.load(`${name}.q_proj`),
        keysAndValues: linears.load(`${name}.k_proj`, `${name}.v_proj`),
        output: linears.load(`${name}.o_proj`),
      };
    });
    const headDim = hiddenSize / heads;
    this.mostBytes = memory.isNative ? MOST_BYTES.many : MOST_BYTES.few;
    const products = Math.max(rows * k, this.mostBytes);
    this.bytes = new ByteStates(memory, { layers: 1, kvHeads, headDim }, this.mostBytes, rows * k);
    this.pooled = memory.allocateRows(rows, hiddenSize);
    this.vectors = memory.allocateRows(rows * k, hiddenSize);
    memory.allocateFloats(SPARE_OUTPUTS);
    this.narrow = memory.allocateRows(products, hiddenSize);
    this.wide = memory.allocateRows(products, Math.max(hiddenSize, 2 * kvHeads * headDim) + SPARE_OUTPUTS);
    this.states = memory.allocateRows(this.mostBytes, hiddenSize);
    this.attention = crossAttentionOf(memory, this.bytes, encoder, rows * k);
  }

  hasRoomFor({ patchMask }: Feeds): boolean {
    return patchMask.shape[1] <= this.mostBytes;
  }

  /** `pooled` [all, h], `states` [B, layers * h], `patchMask` [all * k, B] -> rows [N, E]. */
  write({ pooled, states, patchMask }: Feeds, rows: RowSpan, first: number, count: number): void {
    const { memory } = this.tools;
    const { encoder, latent, crossAttentionK: k } = this.config;
    const { hiddenSize } = encoder;
    const given = pooled.data as Float32Array;
    memory.floats.set(given.subarray(first * hiddenSize, (first + count) * hiddenSize), this.pooled.at / 4);
    // A patch's k vectors lie behind each other, as does the row of all of them.
    this.project.apply(this.pooled, { at: this.vectors.at, bytes: k * this.vectors.bytes }, count);
    this.looks.forEach((look, layer) => {
      this.bytes.take(patchMask, first * k, count * k, this.keysAndValues(look, states, layer));
      this.look(look, count * k);
    });
    const joined = { at: this.vectors.at, bytes: k * this.vectors.bytes };
    if (this.join !== null) this.join.apply(joined, rows, count);
    else
      for (let row = 0; row < count; row++)
        memory.row(rows, row, latent.hiddenSize).set(memory.row(joined, row, k * hiddenSize));
  }

  /** Keys and values of the bytes' states in one of the state layers, two of [K D] in each row. */
  private keysAndValues(look: Look, { data, shape }: Feeds[string], layer: number): RowSpan {
    const { memory, operations } = this.tools;
    const { hiddenSize, normEps } = this.config.encoder;
    const [bytes, stride] = shape;
    for (let byte = 0; byte < bytes; byte++) {
      const from = byte * stride + layer * hiddenSize;
      memory.row(this.states, byte, hiddenSize).set((data as Float32Array).subarray(from, from + hiddenSize));
    }
    operations.norm(this.states, look.keyNorm, this.narrow, hiddenSize, normEps, bytes);
    look.keysAndValues.apply(this.narrow, this.wide, bytes);
    return this.wide;
  }

  /** vectors = 2 vectors + W_o attention to the bytes. */
  private look({ queryNorm, query, output }: Look, count: number): void {
    const { operations } = this.tools;
    const { vectors, narrow, wide } = this;
    const { hiddenSize, normEps } = this.config.encoder;
    operations.norm(vectors, queryNorm, narrow, hiddenSize, normEps, count);
    query.apply(narrow, wide, count);
    this.attention.apply(0, wide, narrow, count);
    output.apply(narrow, wide, count);
    operations.add(vectors, vectors, hiddenSize, count);
    operations.add(vectors, wide, hiddenSize, count);
  }
}

/** Keys and values of bytes that vectors look at, of one layer. */
class ByteStates extends AttentionSlots {
  /** Address of zeros [D]. */
  private readonly zeros: number;

  constructor(...given: ConstructorParameters<typeof AttentionSlots>) {
    super(...given);
    this.zeros = this.memory.allocateFloats(this.shape.headDim);
  }

  /**
   * @param mask [all, B], of which the rows `first` to `first + rows` are taken
   * @param keysAndValues of each byte, two of [K D]
   */
  take(mask: Feeds[string], first: number, rows: number, keysAndValues: RowSpan): void {
    const [, bytes] = mask.shape;
    const { kvHeads, headDim } = this.shape;
    this.takeMasks(mask, first, rows);
    // Hidden slots count 0 times what lies in them, and 0 times infinity is no number.
    for (let slot = bytes; slot < this.slotsInUse; slot++)
      for (let head = 0; head < kvHeads; head++) this.putRows(0, head, slot, 1, this.zeros, this.zeros);
    for (let byte = 0; byte < bytes; byte++) {
      const both = keysAndValues.at + byte * keysAndValues.bytes;
      for (let head = 0; head < kvHeads; head++) {
        const key = both + 4 * head * headDim;
        this.putRows(0, head, byte, 1, key, key + 4 * kvHeads * headDim);
      }
    }
  }
}
