/** One of the four networks: a session over new rows, whose past lies in a `KvCache`. */
import { setImmediate } from "node:timers/promises";
import type { TransformerConfig } from "../checkpoint/config";
import type { Graph } from "../graph/graph";
import { createSession, createSessionLater, type Feeds, type Session, type SessionOptions } from "../session";
import { KvCache } from "./kv-cache";
import { RotaryTable } from "./rotary";
import type { RowNetwork } from "./row-network";

/** Results of a run, row by row: [count, stride]. */
export interface Rows {
  data: Float32Array;
  count: number;
  stride: number;
}

/** Below this, weights fit a processor's cache and a second copy costs little. */
export const SMALL_NETWORK_BYTES = 32 * 2 ** 20;

export class CausalNetwork {
  private readonly rotary: RotaryTable;

  private constructor(
    private readonly session: Session,
    /** The same graph on one thread, for single rows. */
    private readonly stepSession: Session,
    readonly config: TransformerConfig,
    /** What runs rows instead, those that it takes. */
    readonly rowNetwork: RowNetwork | null = null,
  ) {
    // What lies within a window may have begun anywhere.
    this.rotary = new RotaryTable(config.ropeTheta, config.headDim, config.window !== null);
  }

  /**
   * Compiles a network; twice where it is small: waking a second thread for the products of one row then costs more
   * than the thread saves, while prefill wants all threads.
   * @param graphOf builds its graph
   * @param rowNetwork the same network by the row kernels; single rows then need no session of their own. Where it runs all rows, nothing
   * is compiled before it is needed after all
   */
  static async load(
    graphOf: () => Graph,
    config: TransformerConfig,
    options: SessionOptions,
    rowNetwork: RowNetwork | null = null,
  ): Promise<CausalNetwork> {
    if (rowNetwork?.runsAll) return CausalNetwork.compiledLater(graphOf, config, options, rowNetwork);
    const graph = graphOf();
    const session = await createSession(graph, options);
    const small = graph.weightBytes < SMALL_NETWORK_BYTES && options.device === "cpu" && options.threads !== 1;
    const stepSession = small && rowNetwork === null ? await createSession(graph, { ...options, threads: 1 }) : session;
    return new CausalNetwork(session, stepSession, config, rowNetwork);
  }

  /**
   * The same network, each of its sessions compiled when it is first run.
   * @param rowNetwork the same network for all rows that it takes
   */
  static compiledLater(
    graph: () => Graph,
    config: TransformerConfig,
    options: SessionOptions,
    rowNetwork: RowNetwork | null = null,
  ): CausalNetwork {
    const session = createSessionLater(graph, options);
    const twice = options.device === "cpu" && options.threads !== 1 && rowNetwork === null;
    const stepSession = twice ? createSessionLater(graph, { ...options, threads: 1 }) : session;
    return new CausalNetwork(session, stepSession, config, rowNetwork);
  }

  createCache(): KvCache {
    return new KvCache(this.config, this.rotary, this.rowNetwork?.runsAll);
  }

  /**
   * Runs the next rows and appends their keys and values to the cache.
   * @param inputs what the network reads besides the cache, N rows each
   * @param floors first position each row may see; null is 0
   * @param wanted first position whose results are wanted: those of rows before it may be zeros
   */
  async run(
    cache: KvCache,
    count: number,
    inputs: Feeds,
    floors: ArrayLike<number> | null,
    signal?: AbortSignal,
    wanted = 0,
  ): Promise<Rows> {
    if (this.rowNetwork?.takes(cache, count, inputs))
      return this.runRows(this.rowNetwork, cache, count, inputs, floors, wanted, signal);
    const { packed } = await this.sessionFor(count).run({ ...inputs, ...cache.feeds(count, floors) }, signal);
    const { layers, kvHeads, headDim } = this.config;
    const results = packed.length - count * layers * 2 * kvHeads * headDim;
    cache.append(packed.subarray(results), count);
    return { data: packed.subarray(0, results), count, stride: results / count };
  }

  /**
   * Runs rows that form a tree over the cached positions; the first `kept` of them, which follow the last cached one and
   * each other, are appended to the cache. More than the row kernels run at a time are a session's.
   * @param parents [N] as in `KvCache.treeFeeds`
   * @param inputs as in `run`
   */
  async runTree(
    cache: KvCache,
    parents: ArrayLike<number>,
    kept: number,
    inputs: Feeds,
    signal?: AbortSignal,
  ): Promise<Rows> {
    const count = parents.length;
    if (this.rowNetwork?.takes(cache, count, inputs) && count <= this.rowNetwork.mostRows) {
      signal?.throwIfAborted();
      await setImmediate();
      const data = this.rowNetwork.run(cache, inputs, cache.treeViews(parents), { kept });
      return { data, count, stride: data.length / count };
    }
    const { packed } = await this.sessionFor(count).run({ ...inputs, ...cache.treeFeeds(parents) }, signal);
    const { layers, kvHeads, headDim } = this.config;
    const results = packed.length - count * layers * 2 * kvHeads * headDim;
    if (kept > 0) cache.append(packed.subarray(results), kept, count);
    return { data: packed.subarray(0, results), count, stride: results / count };
  }

  /** Runs the next rows by the row kernels, as many at a time as those take. */
  private async runRows(
    network: RowNetwork,
    cache: KvCache,
    count: number,
    inputs: Feeds,
    floors: ArrayLike<number> | null,
    wanted: number,
    signal?: AbortSignal,
  ): Promise<Rows> {
    const before = cache.length;
    const parts: Rows[] = [];
    try {
      for (let from = 0; from < count; ) {
        signal?.throwIfAborted();
        // As after any other run, what was received meanwhile is looked at.
        await setImmediate();
        const rows = Math.min(network.mostRows, count - from);
        const lowest = floors && Array.prototype.slice.call(floors, from, from + rows);
        const layers = cache.layersSeen(before + from + rows - 1, wanted);
        const data = network.run(cache, inputs, cache.views(rows, lowest), { first: from, layers });
        parts.push({ data, count: rows, stride: data.length / rows });
        from += rows;
      }
    } catch (error) {
      // All rows or none, as with a session.
      if (cache.length > before) cache.truncate(before);
      throw error;
    }
    return joinRows(parts);
  }

  private sessionFor(rows: number): Session {
    return rows === 1 ? this.stepSession : this.session;
  }

  async release(): Promise<void> {
    await this.session.release();
    if (this.stepSession !== this.session) await this.stepSession.release();
  }
}

/** Rows of the same stride behind each other. */
export function joinRows(parts: Rows[]): Rows {
  if (parts.length === 1) return parts[0];
  const { stride } = parts[0];
  const count = parts.reduce((sum, part) => sum + part.count, 0);
  const data = new Float32Array(count * stride);
  let at = 0;
  for (const part of parts) {
    data.set(part.data.subarray(0, part.count * stride), at);
    at += part.count * stride;
  }
  return { data, count, stride };
}
