/**
 * A network by the row kernels: what its graph computes (`networks.ts`, `transformer.ts`), rounded
 * alike, without onnxruntime's cost for each of some hundred small nodes. What a row gives does not depend on the rows it is run with,
 * but for a tree's branches, which are summed in another order. The native kernels take any number of rows, those in WebAssembly a few;
 * longer runs are onnxruntime's then.
 *
 * Shapes: N rows, E width, H query heads, K key/value heads, D head width.
 */
import type { Weights } from "../checkpoint/checkpoint";
import type { TransformerConfig } from "../checkpoint/config";
import { readWeight } from "../checkpoint/tensor-data";
import { inGroups } from "../kernels/native-jobs";
import type { JobList, RowMemory, RowSpan } from "../kernels/row-kernels";
import type { Feeds } from "../session";
import type { RowAttention } from "./attention-shape";
import { hasByteKeys, roundToBytes } from "./byte-keys";
import type { KvCache, RowView } from "./kv-cache";
import type { LowRank } from "./low-rank";
import { NativePlacing } from "./native-placing";
import { type PatchAttention, PatchVectors } from "./patch-vectors";
import { crossAttentionOf, rowAttention } from "./row-attention";
import { RowCache } from "./row-cache";
import { RowLinears } from "./row-linear";
import { type RowOperations, rowOperations } from "./row-operations";
import type { RowLinear } from "./row-product";

/** What a network is made of. */
export interface RowNetworkParts {
  /** Layers are `${prefix}.layers.0` ... */
  prefix: string;
  config: TransformerConfig;
  /** Name of the input [N, E]; or what makes the rows [N, E]. */
  input: "embedding" | "states" | ((tools: RowTools) => RowSource);
  /** Layers whose outputs are results, by number; behind the head's where there is one. */
  resultLayers: readonly number[];
  /** What makes results of the last layer's output. */
  head: ((tools: RowTools) => RowHead) | null;
  /** Cross-attention before the first layers. */
  cross: PatchAttention | null;
}

/** What parts of a network are loaded with. */
export interface RowTools {
  memory: RowMemory;
  checkpoint: Weights;
  linears: RowLinears;
  operations: RowOperations;
  /** N at most. */
  rows: number;
  /** Address of a norm's weights. */
  norm(name: string): number;
}

/** Makes a network's rows of its inputs. */
export interface RowSource {
  /** Whether there is room for these inputs. */
  hasRoomFor(inputs: Feeds): boolean;
  /** Writes `count` rows, from the inputs' row `first` on. */
  write(inputs: Feeds, rows: RowSpan, first: number, count: number): void;
}

/** Makes results of the last layer's output. */
export interface RowHead {
  /** Width of a row's results. */
  width: number;
  /** Results [N, width] of rows [N, E]. */
  read(rows: RowSpan, count: number): Float32Array;
}

/** Rows of a run that is listed at most: each number of rows has a list of its own, 50 kB for thirty layers. */
const LISTED_ROWS = 12;
const NOTHING = new Float32Array(0);

/** Which of the rows of a question are run, and what of them is needed. */
export interface RowsPart {
  /** How many are appended to the cache, the first ones; all unless said. */
  kept?: number;
  /** First of the inputs' rows that are these. */
  first?: number;
  /** Layers that are needed, and of the next one keys and values; results are zeros where that is not all layers. */
  layers?: number;
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
  private readonly linears: RowLinears;
  private readonly operations: RowOperations;
  private readonly past: RowCache;
  private readonly layers: Layer[];
  private readonly source: RowSource | null;
  private readonly head: RowHead | null;
  private readonly patches: PatchVectors | null;
  private readonly attention: RowAttention;
  private readonly crossAttention: RowAttention | null;
  /** The rows' values: the stream, what a product reads, and what it makes. */
  private readonly hidden: RowSpan;
  private readonly narrow: RowSpan;
  private readonly wide: RowSpan;
  private readonly rotations: RowSpan;
  private readonly placing: NativePlacing | null;
  /** Whether the layers are nothing but jobs of the native kernels: all but those that look at patches, and those of which results are wanted. */
  private readonly isListed: boolean;
  /** By number of rows. */
  private lists: (JobList | undefined)[] = [];

  /**
   * @param levels whole numbers on either side of zero that activations are rounded to where weights are int8
   * @param most rows at a time
   * @param weightBytes about how much the layers' weights take
   */
  constructor(
    private readonly memory: RowMemory,
    checkpoint: Weights,
    private readonly parts: RowNetworkParts,
    levels: number,
    private readonly most: number,
    weightBytes: number,
  ) {
    const { config, cross, prefix, input, head } = parts;
    const { hiddenSize, heads, kvHeads, headDim, intermediateSize } = config;
    this.linears = new RowLinears(memory, checkpoint, levels);
    this.operations = rowOperations(memory);
    const { linears, operations } = this;
    const norm = (name: string) => memory.place(readWeight(checkpoint, `${name}.weight`));
    const tools = { memory, checkpoint, linears, operations, norm, rows: most };
    this.past = new RowCache(memory, config, most);
    this.patches = cross && new PatchVectors(memory, cross, most);
    this.source = typeof input === "string" ? null : input(tools);
    memory.expectDense(weightBytes);
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
    this.head = head?.(tools) ?? null;
    this.hidden = memory.allocateRows(most, hiddenSize);
    this.narrow = memory.allocateRows(most, Math.max(hiddenSize, heads * headDim));
    this.wide = memory.allocateRows(
      most,
      inGroups(Math.max(hiddenSize, (heads + 2 * kvHeads) * headDim, 2 * intermediateSize)),
    );
    this.rotations = memory.allocateRows(most, 2 * headDim);
    this.placing = memory.isNative ? new NativePlacing(memory, this.past, config, this.rotations, most) : null;
    this.isListed = memory.isNative && cross === null && parts.resultLayers.length === 0;
    this.attention = rowAttention(memory, this.past, { heads, keyHeads: kvHeads, headDim }, most);
    this.crossAttention = this.patches && crossAttentionOf(memory, this.patches, cross!.config, most);
  }

  /** Whether it takes any number of rows, so that no session is needed but for what `takes` refuses. */
  get runsAll(): boolean {
    return this.memory.isNative;
  }

  /** Rows of a run at most; of more, the next ones are run after them. */
  get mostRows(): number {
    return this.most;
  }

  /** Whether so many rows can be run here, in as many runs as it takes. */
  takes(cache: KvCache, rows: number, inputs: Feeds): boolean {
    const { source, patches, past, most, memory } = this;
    return (
      (rows <= most || memory.isNative) &&
      past.hasRoomFor(cache, rows) &&
      (source === null || source.hasRoomFor(inputs)) &&
      (patches === null || patches.hasRoomFor(inputs))
    );
  }

  /**
   * Runs the next rows.
   * @param inputs as the network's graph reads them
   * @param views what each row sees [N]
   * @returns results [N, width]
   */
  run(cache: KvCache, inputs: Feeds, views: readonly RowView[], part: RowsPart = {}): Float32Array {
    this.memory.team.begin();
    try {
      return this.runRows(cache, inputs, views, part);
    } finally {
      this.memory.team.end();
    }
  }

  /** Takes an adapter into use, or null for the base model; rows that were run before it are another network's. */
  useAdapter(adapter: LowRank | null): void {
    this.linears.useAdapter(adapter);
    for (const list of this.lists) list?.release();
    this.lists = [];
  }

  private runRows(
    cache: KvCache,
    inputs: Feeds,
    views: readonly RowView[],
    { kept = views.length, first = 0, layers: depth = this.layers.length }: RowsPart,
  ): Float32Array {
    const { memory, parts, layers, hidden, head } = this;
    const { hiddenSize, kvHeads, headDim } = parts.config;
    const count = views.length;
    this.past.follow(cache, views);
    this.patches?.take(inputs, first, count);
    if (this.source !== null) this.source.write(inputs, hidden, first, count);
    else {
      const rows = inputs[parts.input as string].data as Float32Array;
      memory.floats.set(rows.subarray(first * hiddenSize, (first + count) * hiddenSize), hidden.at / 4);
    }
    this.placeRotations(views);
    const { placing } = this;
    placing?.begin(count);
    const copied = new Float32Array(placing === null ? layers.length * 2 * kvHeads * headDim * count : 0);
    const headWidth = head?.width ?? 0;
    const width = headWidth + parts.resultLayers.length * hiddenSize;
    const outputs = new Float32Array(parts.resultLayers.length === 0 ? 0 : count * width);

    if (this.isListed && count <= LISTED_ROWS && depth === layers.length) this.listOf(count).run();
    else this.runLayers(count, depth, copied, outputs, headWidth);
    this.past.append(cache, placing?.keysAndValues(count) ?? copied, kept, count);
    if (head === null) return outputs;
    const made = depth < layers.length ? new Float32Array(count * headWidth) : head.read(hidden, count);
    if (outputs.length === 0) return made;
    for (let row = 0; row < count; row++)
      outputs.set(made.subarray(row * headWidth, (row + 1) * headWidth), row * width);
    return outputs;
  }

  /** All layers for so many rows: the same jobs with the same arguments each time, as what differs lies at the same places of the memory. */
  private listOf(count: number): JobList {
    this.lists[count] ??= this.memory.list(() => this.runLayers(count, this.layers.length, NOTHING, NOTHING, 0));
    return this.lists[count];
  }

  /**
   * Runs the first `depth` layers, and of the next one what makes keys and values.
   * @param copied keys and values, where they are not made by the native kernels
   * @param outputs results [N, width]: those of layers lie behind `headWidth` of the head
   */
  private runLayers(
    count: number,
    depth: number,
    copied: Float32Array,
    outputs: Float32Array,
    headWidth: number,
  ): void {
    const { memory, parts, layers, hidden, narrow, wide } = this;
    const { hiddenSize, heads, kvHeads, headDim } = parts.config;
    for (const [index, layer] of layers.entries()) {
      if (index > depth) {
        // Nobody sees them, but what is hidden is counted 0 times, and must be a number.
        if (index === depth + 1)
          for (let row = 0; row < count; row++) memory.row(wide, row, (heads + 2 * kvHeads) * headDim).fill(0);
        this.keep(index, count, copied);
        continue;
      }
      if (layer.cross !== null) this.lookAtPatches(layer.cross, index, count);
      this.norm(layer.inputNorm, count);
      layer.queryKeyValue.apply(narrow, wide, count);
      this.keep(index, count, copied);
      if (index === depth) continue;
      this.attention.apply(index, wide, narrow, count);
      layer.output.apply(narrow, wide, count);
      this.add(wide, count);
      this.feedForward(layer, count);
      const place = parts.resultLayers.indexOf(index);
      if (place < 0) continue;
      const width = outputs.length / count;
      for (let row = 0; row < count; row++)
        outputs.set(memory.row(hidden, row, hiddenSize), row * width + headWidth + place * hiddenSize);
    }
  }

  /** Takes queries, keys and values in `wide` as a layer's: rotates them, and keeps keys and values. */
  private keep(layer: number, count: number, copied: Float32Array): void {
    if (this.placing !== null) this.placing.place(layer, this.wide, count);
    else this.rotateAndPut(layer, count, copied);
  }

  /** Cosines and sines of the rows' rotations, as the kernel reads them: [N, 2, D]. */
  private placeRotations(views: readonly RowView[]): void {
    const { memory, rotations } = this;
    const { headDim } = this.parts.config;
    views.forEach(({ rotation: { cos, sin } }, row) => {
      const values = memory.row(rotations, row, 2 * headDim);
      for (let pair = 0; pair < headDim / 2; pair++) {
        values[2 * pair] = values[2 * pair + 1] = cos[pair];
        values[headDim + 2 * pair] = -sin[pair];
        values[headDim + 2 * pair + 1] = sin[pair];
      }
    });
  }

  /** Queries, keys and values [(H + 2 K) D] in `wide`: rotates them and keeps keys and values, [L, 2, K, N, D] in `keysAndValues`. */
  private rotateAndPut(layer: number, count: number, keysAndValues: Float32Array): void {
    const { memory, past, wide, rotations } = this;
    const { heads, kvHeads, headDim } = this.parts.config;
    const [keysAt, kvWidth] = [4 * heads * headDim, kvHeads * headDim];
    for (let row = 0; row < count; row++) {
      const [queries, cos] = [wide.at + row * wide.bytes, rotations.at + row * rotations.bytes];
      memory.kernels.rotate(queries, cos, cos + 4 * headDim, headDim, heads + kvHeads);
      const both = (queries + keysAt) / 4;
      const { floats } = memory;
      if (hasByteKeys(this.parts.config)) roundToBytes(floats.subarray(both, both + 2 * kvWidth), headDim);
      past.put(layer, row, queries + keysAt, queries + keysAt + 4 * kvWidth);
      // Heads of keys, then heads of values.
      if (count === 1) keysAndValues.set(floats.subarray(both, both + 2 * kvWidth), layer * 2 * kvWidth);
      else
        for (let head = 0; head < 2 * kvHeads; head++) {
          const from = both + head * headDim;
          keysAndValues.set(
            floats.subarray(from, from + headDim),
            ((layer * 2 * kvHeads + head) * count + row) * headDim,
          );
        }
    }
  }

  /** hidden = 2 hidden + W_o attention to the patches' vectors. */
  private lookAtPatches({ norm, query, output }: NonNullable<Layer["cross"]>, layer: number, count: number): void {
    const { narrow, wide, hidden } = this;
    this.norm(norm, count, this.parts.cross!.config.normEps);
    query.apply(narrow, wide, count);
    this.crossAttention!.apply(layer, wide, narrow, count);
    output.apply(narrow, wide, count);
    this.add(hidden, count);
    this.add(wide, count);
  }

  private feedForward({ feedForwardNorm, gateAndUp, down }: Layer, count: number): void {
    const { narrow, wide } = this;
    this.norm(feedForwardNorm, count);
    gateAndUp.apply(narrow, wide, count);
    this.operations.swiGlu(wide, this.parts.config.intermediateSize, count);
    down.apply(wide, narrow, count);
    this.add(narrow, count);
  }

  /** Norm of the stream, in `narrow`. */
  private norm(weight: number, count: number, epsilon = this.parts.config.normEps): void {
    this.operations.norm(this.hidden, weight, this.narrow, this.parts.config.hiddenSize, epsilon, count);
  }

  /** Adds rows to the stream. */
  private add(rows: RowSpan, count: number): void {
    this.operations.add(this.hidden, rows, this.parts.config.hiddenSize, count);
  }
}
