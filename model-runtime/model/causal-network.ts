/** One of the four networks: a session over new rows, whose past lies in a `KvCache`. */
import type { TransformerConfig } from "../checkpoint/config";
import type { Graph } from "../graph/graph";
import { createSession, type Feeds, type Session, type SessionOptions } from "../session";
import { KvCache } from "./kv-cache";
import { RotaryTable } from "./rotary";

/** Rows of a run's packed output; keys and values have gone to the cache. Shapes: N rows, W width. */
export interface Rows {
  data: Float32Array;
  count: number;
  /** Width of one row in `data`; the first columns are the network's results. */
  stride: number;
}

export class CausalNetwork {
  private readonly rotary: RotaryTable;

  private constructor(
    private readonly session: Session,
    readonly config: TransformerConfig,
  ) {
    this.rotary = new RotaryTable(config.ropeTheta, config.headDim);
  }

  static async load(graph: Graph, config: TransformerConfig, options: SessionOptions): Promise<CausalNetwork> {
    return new CausalNetwork(await createSession(graph, options), config);
  }

  createCache(): KvCache {
    return new KvCache(this.config, this.rotary);
  }

  /**
   * Runs the next rows and appends their keys and values to the cache.
   * @param inputs what the network reads besides the cache, N rows each
   * @param floors first position each row may see; null is 0
   */
  async run(
    cache: KvCache,
    count: number,
    inputs: Feeds,
    floors: ArrayLike<number> | null,
    signal?: AbortSignal,
  ): Promise<Rows> {
    const { packed } = await this.session.run({ ...inputs, ...cache.feeds(count, floors) }, signal);
    const stride = packed.length / count;
    const { layers, kvHeads, headDim } = this.config;
    cache.append(packed, count, stride, stride - layers * 2 * kvHeads * headDim);
    return { data: packed, count, stride };
  }

  release(): Promise<void> {
    return this.session.release();
  }
}
