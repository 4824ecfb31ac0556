/**
 * A byte network for one row at a time, by the row kernels: what its graph computes (`networks.ts`, `transformer.ts`), rounded
 * alike, without onnxruntime's cost for each of some hundred small nodes. Longer runs are onnxruntime's.
 *
 * Shapes: E width, H query heads, K key/value heads, D head width.
 */
import type { Weights } from "../checkpoint/checkpoint";
import type { TransformerConfig } from "../checkpoint/config";
import { readWeight } from "../checkpoint/tensor-data";
import { filledUp } from "../kernels/products";
import type { RowMemory } from "../kernels/row-kernels";
import type { Feeds } from "../session";
import type { AttentionSlots } from "./attention-slots";
import type { KvCache } from "./kv-cache";
import { type PatchAttention, PatchVectors } from "./patch-vectors";
import type { Rotation } from "./rotary";
import { RowCache } from "./row-cache";
import { type RowLinear, RowLinears } from "./row-linear";

/** What a byte network is made of. */
export interface RowNetworkParts {
  /** Layers are `${prefix}.layers.0` ... */
  prefix: string;
  config: TransformerConfig;
  /** Name of the input [1, E]. */
  input: "embedding" | "states";
  /** Layers whose outputs are results, where there is no head. */
  resultLayers: readonly number[];
  /** Norm and projection of the last layer's output to logits. */
  head: { norm: string; projection: string } | null;
  /** Cross-attention before the first layers. */
  cross: PatchAttention | null;
}

interface Layer {
  inputNorm: number;
  queryKeyValue: RowLinear;
  output: RowLinear;
  feedForwardNorm: number;
  gateAndUp: RowLinear;
  down: RowLinear;
  cross: { norm: number; query: RowLinear; output: RowLinear } | null;
}

export class RowNetwork {
  private readonly past: RowCache;
  private readonly layers: Layer[];
  private readonly head: { norm: number; projection: RowLinear } | null;
  private readonly patches: PatchVectors | null;
  /** Addresses of a row's values: the stream, what a product reads, what it makes, and scores. */
  private readonly hidden: number;
  private readonly narrow: number;
  private readonly wide: number;
  private readonly scores: number;

  /** @param levels whole numbers on either side of zero that activations are rounded to */
  constructor(
    private readonly memory: RowMemory,
    checkpoint: Weights,
    private readonly parts: RowNetworkParts,
    levels: number,
  ) {
    const { config, cross, prefix } = parts;
    const { hiddenSize, heads, kvHeads, headDim, intermediateSize } = config;
    const linears = new RowLinears(memory, checkpoint, levels, Math.max(hiddenSize, intermediateSize, heads * headDim));
    const norm = (name: string) => memory.place(readWeight(checkpoint, `${name}.weight`));
    this.past = new RowCache(memory, config);
    this.patches = cross && new PatchVectors(memory, cross);
    this.layers = Array.from({ length: config.layers }, (_, layer) => {
      const name = `${prefix}.layers.${layer}`;
      const crossName = cross?.names[layer];
      return {
        inputNorm: norm(`${name}.input_layernorm`),
        queryKeyValue: linears.load(...["q", "k", "v"].map((part) => `${name}.self_attn.${part}_proj`)),
        output: linears.load(`${name}.self_attn.o_proj`),
        feedForwardNorm: norm(`${name}.post_attention_layernorm`),
        gateAndUp: linears.load(`${name}.mlp.gate_proj`, `${name}.mlp.up_proj`),
        down: linears.load(`${name}.mlp.down_proj`),
        cross:
          crossName === undefined
            ? null
            : {
                norm: norm(`${crossName}.q_norm`),
                query: linears.load(`${crossName}.q_proj`),
                output: linears.load(`${crossName}.o_proj`),
              },
      };
    });
    this.head = parts.head && { norm: norm(parts.head.norm), projection: linears.load(parts.head.projection) };
    this.hidden = memory.allocateFloats(hiddenSize);
    this.narrow = memory.allocateFloats(Math.max(hiddenSize, heads * headDim));
    const widest = Math.max(hiddenSize, (heads + 2 * kvHeads) * headDim, 2 * intermediateSize);
    this.wide = memory.allocateFloats(filledUp(Math.max(widest, this.head?.projection.outputs ?? 0)));
    this.scores = memory.allocateFloats(Math.max(this.past.slots, this.patches?.slots ?? 0));
  }

  /**
   * Runs the next row and appends its keys and values to the cache.
   * @param inputs as the network's graph reads them, of one row
   * @param floor first position the row may see
   * @returns results of the row
   */
  run(cache: KvCache, inputs: Feeds, floor: number): Float32Array {
    const { memory, parts, layers, hidden, narrow, wide, head } = this;
    const { kernels, floats } = memory;
    const { hiddenSize, kvHeads, headDim, normEps } = parts.config;
    this.past.follow(cache, floor);
    this.patches?.take(inputs);
    floats.set(inputs[parts.input].data as Float32Array, hidden / 4);
    const rotation = cache.nextRotation();
    const kvWidth = kvHeads * headDim;
    const keysAndValues = new Float32Array(layers.length * 2 * kvWidth);
    const results = new Float32Array(head?.projection.outputs ?? parts.resultLayers.length * hiddenSize);

    layers.forEach((layer, index) => {
      if (layer.cross !== null) this.lookAtPatches(layer.cross, index);
      kernels.rmsNorm(hidden, layer.inputNorm, narrow, hiddenSize, normEps);
      layer.queryKeyValue.apply(narrow, wide);
      this.attend(index, rotation, keysAndValues.subarray(index * 2 * kvWidth, (index + 1) * 2 * kvWidth));
      layer.output.apply(narrow, wide);
      kernels.addTo(hidden, wide, hiddenSize);
      this.feedForward(layer);
      const place = head === null ? parts.resultLayers.indexOf(index) : -1;
      if (place >= 0) results.set(floats.subarray(hidden / 4, hidden / 4 + hiddenSize), place * hiddenSize);
    });
    if (head !== null) {
      kernels.rmsNorm(hidden, head.norm, narrow, hiddenSize, normEps);
      head.projection.apply(narrow, wide);
      results.set(floats.subarray(wide / 4, wide / 4 + results.length));
    }
    this.past.append(cache, keysAndValues);
    return results;
  }

  /** Queries, keys and values [(H + 2 K) D] in `wide` -> attended [H D] in `narrow`, and `keysAndValues` [2, K, D]. */
  private attend(layer: number, rotation: Rotation, keysAndValues: Float32Array): void {
    const { past, wide } = this;
    const { heads, kvHeads, headDim } = this.parts.config;
    const { floats } = this.memory;
    const [queries, keys, end] = [0, heads, heads + 2 * kvHeads].map((head) => wide / 4 + head * headDim);
    rotate(floats.subarray(queries, keys + kvHeads * headDim), rotation);
    keysAndValues.set(floats.subarray(keys, end));
    past.put(layer, keysAndValues.subarray(0, kvHeads * headDim), keysAndValues.subarray(kvHeads * headDim));
    this.attendTo(past, layer, heads, kvHeads, headDim);
  }

  /** hidden = 2 hidden + W_o attention to the patches' vectors. */
  private lookAtPatches({ norm, query, output }: NonNullable<Layer["cross"]>, layer: number): void {
    const { hidden, narrow, wide } = this;
    const { kernels } = this.memory;
    const { hiddenSize, normEps, crossAttentionHeads, crossAttentionKvHeads } = this.parts.cross!.config;
    kernels.rmsNorm(hidden, norm, narrow, hiddenSize, normEps);
    query.apply(narrow, wide);
    this.attendTo(this.patches!, layer, crossAttentionHeads, crossAttentionKvHeads, hiddenSize / crossAttentionHeads);
    output.apply(narrow, wide);
    kernels.addTo(hidden, hidden, hiddenSize);
    kernels.addTo(hidden, wide, hiddenSize);
  }

  /** Queries [H D] in `wide`, which are scaled -> attended [H D] in `narrow`; zeros where nothing is in sight. */
  private attendTo(sight: AttentionSlots, layer: number, heads: number, kvHeads: number, headDim: number): void {
    const { scores, wide, narrow } = this;
    const { kernels, floats } = this.memory;
    const { mask, slots, slotsInUse } = sight;
    if (slotsInUse === 0) {
      floats.fill(0, narrow / 4, narrow / 4 + heads * headDim);
      return;
    }
    const scale = Math.fround(1 / Math.sqrt(headDim));
    for (let i = wide / 4; i < wide / 4 + heads * headDim; i++) floats[i] *= scale;
    for (let head = 0; head < heads; head++) {
      const at = 4 * head * headDim;
      const keyHead = Math.floor((head * kvHeads) / heads);
      kernels.attentionScores(wide + at, sight.keysOf(layer, keyHead), mask, scores, headDim, slotsInUse);
      const factor = kernels.softmax(scores, slotsInUse);
      kernels.weightedSum(scores, sight.valuesOf(layer, keyHead), narrow + at, headDim, slots, slotsInUse, factor);
    }
  }

  private feedForward({ feedForwardNorm, gateAndUp, down }: Layer): void {
    const { hidden, narrow, wide } = this;
    const { kernels } = this.memory;
    const { hiddenSize, intermediateSize, normEps } = this.parts.config;
    kernels.rmsNorm(hidden, feedForwardNorm, narrow, hiddenSize, normEps);
    gateAndUp.apply(narrow, wide);
    kernels.swiGlu(wide, intermediateSize);
    down.apply(wide, narrow);
    kernels.addTo(hidden, narrow, hiddenSize);
  }
}

/** Rotates pairs of neighbouring values of heads [.., D] by angles [D / 2]. */
function rotate(heads: Float32Array, { cos, sin }: Rotation): void {
  for (let start = 0; start < heads.length; start += 2 * cos.length)
    for (let pair = 0, i = start; pair < cos.length; pair++, i += 2) {
      const [a, b] = [heads[i], heads[i + 1]];
      heads[i] = a * cos[pair] - b * sin[pair];
      heads[i + 1] = a * sin[pair] + b * cos[pair];
    }
}
