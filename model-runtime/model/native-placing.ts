/** Rotates queries and keys of rows and keeps keys and values, by the native kernels. Shapes as in row-network.ts, L layers. */
import type { TransformerConfig } from "../checkpoint/config";
import { type RowMemory, type RowSpan, setArguments } from "../kernels/row-kernels";
import type { RowCache } from "./row-cache";
import { WORTH_THREADS } from "./row-operations";

export class NativePlacing {
  /** Address of keys and values of all layers. */
  private readonly made: number;
  private readonly slotsOfRows: Int32Array;
  private readonly job;
  private readonly places: number[];

  /**
   * @param turns cosines and sines of the rows' rotations [N, 2, D]
   * @param most N at most
   */
  constructor(
    private readonly memory: RowMemory,
    private readonly past: RowCache,
    private readonly config: TransformerConfig,
    turns: RowSpan,
    most: number,
  ) {
    const { layers, heads, kvHeads, headDim } = config;
    this.made = memory.allocateFloats(layers * 2 * kvHeads * most * headDim);
    const slotsOfRows = memory.allocateFloats(most);
    this.slotsOfRows = memory.integers(slotsOfRows, most);
    this.job = memory.nativeJob("place", {
      turns: turns.at,
      turnBytes: turns.bytes,
      heads,
      keyHeads: kvHeads,
      headDim,
      slotsOfRows,
      headBytes: past.headBytes,
      numberBytes: past.numberBytes,
      slots: past.slots,
    });
    this.places = this.job.places("x", "xBytes", "rows", "keys", "values", "made", "keyScales", "valueScales");
  }

  /** Makes ready for so many rows, which the cache follows. */
  begin(count: number): void {
    this.slotsOfRows.set(this.past.slotsOfRows(count));
  }

  /** Queries, keys and values [N, (H + 2 K) D] of a layer. */
  place(layer: number, { at, bytes }: RowSpan, count: number): void {
    const { past, made, config } = this;
    const layerBytes = 8 * config.kvHeads * count * config.headDim;
    const [keys, values] = [past.keysOf(layer, 0), past.valuesOf(layer, 0)];
    const scales = past.scalesOf(layer, 0);
    const to = made + layer * layerBytes;
    setArguments(this.job, this.places, at, bytes, count, keys, values, to, scales.keys, scales.values);
    this.job.run(count, count * config.kvHeads * config.headDim < WORTH_THREADS);
  }

  /** Keys and values of the rows [L, 2, K, N, D], as long as none follow. */
  keysAndValues(count: number): Float32Array {
    const { layers, kvHeads, headDim } = this.config;
    const start = this.made / 4;
    return this.memory.floats.subarray(start, start + layers * 2 * kvHeads * count * headDim);
  }
}
