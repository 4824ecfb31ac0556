/**
 * Patches as rows of the latent transformer, by the row kernels, as `latentNodes` makes them: pooled states, projected to k vectors
 * a patch, which look at the states of the patch's bytes.
 *
 * Shapes: N patches, B bytes of theirs, k vectors a patch, h local width, E latent width.
 */

import type { BltConfig } from "../checkpoint/config";
import { slotsFor } from "../kernels/attention";
import type { RowSpan } from "../kernels/row-kernels";
import type { Feeds } from "../session";
import { AttentionSlots } from "./attention-slots";
import { crossLayerNames } from "./cross-attention";
import { HIDDEN_SCORE } from "./kv-cache";
import { encoderStateLayers } from "./networks";
import { crossAttentionOf, type RowAttention } from "./row-attention";
import type { RowLinear } from "./row-linear";
import type { RowSource, RowTools } from "./row-network";

/** Bytes of patches that are run together at most; longer ones are onnxruntime's. */
const MOST_BYTES = 96;

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
  /** A patch's pooled state; its vectors [k, h]; what a product reads and makes of a vector; a byte's state. */
  private readonly pooled: RowSpan;
  private readonly vectors: RowSpan;
  private readonly narrow: RowSpan;
  private readonly wide: RowSpan;
  private readonly state: RowSpan;

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
    this.bytes = new ByteStates(memory, { layers: 1, kvHeads, headDim }, MOST_BYTES, rows * k);
    this.pooled = memory.allocateRows(rows, hiddenSize);
    this.vectors = memory.allocateRows(rows * k, hiddenSize);
    this.narrow = memory.allocateRows(rows * k, hiddenSize);
    this.wide = memory.allocateRows(rows * k, Math.max(hiddenSize, 2 * kvHeads * headDim) + 3);
    this.state = memory.allocateRows(1, hiddenSize);
    this.attention = crossAttentionOf(memory, this.bytes, encoder, rows * k);
  }

  hasRoomFor({ patchMask }: Feeds): boolean {
    return patchMask.shape[1] <= MOST_BYTES;
  }

  /** `pooled` [N, h], `states` [B, layers * h], `patchMask` [N * k, B] -> rows [N, E]. */
  write({ pooled, states, patchMask }: Feeds, rows: RowSpan): void {
    const { memory } = this.tools;
    const { encoder, latent, crossAttentionK: k } = this.config;
    const { hiddenSize } = encoder;
    const count = pooled.shape[0];
    memory.floats.set(pooled.data as Float32Array, this.pooled.at / 4);
    // A patch's k vectors lie behind each other, as does the row of all of them.
    this.project.apply(this.pooled, { at: this.vectors.at, bytes: k * this.vectors.bytes }, count);
    this.looks.forEach((look, layer) => {
      this.bytes.take(patchMask, (byte) => this.keysAndValues(look, states, layer, byte));
      this.look(look, count * k);
    });
    const joined = { at: this.vectors.at, bytes: k * this.vectors.bytes };
    if (this.join !== null) this.join.apply(joined, rows, count);
    else
      for (let row = 0; row < count; row++)
        memory.row(rows, row, latent.hiddenSize).set(memory.row(joined, row, k * hiddenSize));
  }

  /** Address of keys and values of a byte's state in one of the state layers. */
  private keysAndValues(look: Look, { data, shape }: Feeds[string], layer: number, byte: number): number {
    const { memory } = this.tools;
    const { hiddenSize, normEps } = this.config.encoder;
    const from = byte * shape[1] + layer * hiddenSize;
    memory.floats.set((data as Float32Array).subarray(from, from + hiddenSize), this.state.at / 4);
    memory.kernels.rmsNorm(this.state.at, look.keyNorm, this.narrow.at, hiddenSize, normEps);
    look.keysAndValues.apply(this.narrow, this.wide, 1);
    return this.wide.at;
  }

  /** vectors = 2 vectors + W_o attention to the bytes. */
  private look({ queryNorm, query, output }: Look, count: number): void {
    const { memory } = this.tools;
    const { kernels } = memory;
    const { vectors, narrow, wide } = this;
    const { hiddenSize, normEps } = this.config.encoder;
    const at = (rows: RowSpan, row: number) => rows.at + row * rows.bytes;
    for (let row = 0; row < count; row++)
      kernels.rmsNorm(at(vectors, row), queryNorm, at(narrow, row), hiddenSize, normEps);
    query.apply(narrow, wide, count);
    this.attention.apply(0, wide, narrow, count);
    output.apply(narrow, wide, count);
    for (let row = 0; row < count; row++) {
      kernels.addTo(at(vectors, row), at(vectors, row), hiddenSize);
      kernels.addTo(at(vectors, row), at(wide, row), hiddenSize);
    }
  }
}

/** Keys and values of bytes that vectors look at, of one layer. */
class ByteStates extends AttentionSlots {
  /**
   * @param mask [rows, B]
   * @param keysAndValues address of a byte's, two of [K D], as long as it is not asked for the next one
   */
  take({ data, shape }: Feeds[string], keysAndValues: (byte: number) => number): void {
    const [rows, bytes] = shape;
    const { kvHeads, headDim } = this.shape;
    this.clear();
    this.slotsInUse = slotsFor(bytes);
    for (let row = 0; row < rows; row++)
      this.maskOf(row)
        .fill(HIDDEN_SCORE)
        .set((data as Float32Array).subarray(row * bytes, (row + 1) * bytes));
    for (let byte = 0; byte < bytes; byte++) {
      const both = keysAndValues(byte);
      for (let head = 0; head < kvHeads; head++) {
        const key = both + 4 * head * headDim;
        this.putRows(0, head, byte, 1, key, key + 4 * kvHeads * headDim);
      }
    }
  }
}
