/**
 * A second form of the latent transformer's layers, for runs of many positions: int8 rows in place of 4-bit blocks
 * (`latent-rows.ts`), made once there is time and memory for it.
 */
import type { Weights } from "../checkpoint/checkpoint";
import type { TransformerConfig } from "../checkpoint/config";
import type { Graph } from "../graph/graph";
import { createSession, type Feeds, type SessionOptions } from "../session";
import type { CausalNetwork } from "./causal-network";
import { saturates } from "./int8-kernel";
import { discard, hasPlainBlocks, latentRowsBytes, makeLatentRows } from "./latent-rows";
import type { GraphContext, Int8Kernel } from "./linear";

/** How many times as fast long runs must be, by a short timing, for the second form to be kept. */
export const WORTH_A_SECOND_FORM = 1.2;

/** Rows of a run that is long on any machine. */
const ALWAYS_LONG = 32;

/** A latent transformer's network as what it is compiled from. */
export interface LatentSource<C extends Weights> {
  checkpoint: C;
  config: TransformerConfig;
  int8Kernel: Int8Kernel;
  /** Builds the graph from weights in their places. */
  graph: (source: { checkpoint: C } & Pick<GraphContext, "int8Kernel" | "rows">) => Graph;
  /** Whether the stream has a basis of its own, in which no channel stands out. */
  isTurned: boolean;
  /** Tensors that the graph reads besides the layers', by the beginnings of their names. */
  others: readonly string[];
  /** What the network reads besides the cache, of so many rows, to time it with. */
  inputs: (rows: number) => Feeds;
}

export class LongRuns<C extends Weights> {
  /** The network that was prepared. */
  private prepared: CausalNetwork | null = null;
  private readonly ended = new AbortController();

  constructor(
    private readonly source: LatentSource<C>,
    private readonly options: SessionOptions,
  ) {}

  /** Whether `prepare` would change anything for a network without an adapter. */
  canPrepare(network: CausalNetwork): boolean {
    const { checkpoint, config, int8Kernel } = this.source;
    const isQuantized = this.options.device === "cpu" && int8Kernel !== "float32" && hasPlainBlocks(checkpoint, config);
    return isQuantized && this.prepared !== network;
  }

  /** Bytes of the second form, for weights that `canPrepare`; as many again for a moment while it is compiled. */
  get byteLength(): number {
    return latentRowsBytes(this.source.checkpoint, this.source.config);
  }

  /**
   * Compiles the second form: some seconds of work in steps for 100 million weights. What is read from then on uses it; what was
   * read stays.
   * @param isCurrent whether the network is still in use; an adapter may come meanwhile, and its form is then given up
   * @throws an AbortError when `end` is called meanwhile
   */
  async prepare(network: CausalNetwork, isCurrent: () => boolean, least: number): Promise<void> {
    this.prepared = network;
    const { checkpoint, config, int8Kernel, graph, isTurned, others, inputs } = this.source;
    const form = { isNarrow: await saturates(this.options), isTurned };
    const { weights, file, rows } = await makeLatentRows(checkpoint, config, form, others, this.ended.signal);
    const source = { checkpoint: { ...checkpoint, ...weights }, int8Kernel, rows };
    const session = await createSession(graph(source), { ...this.options, file });
    discard(file.data);
    const isWanted = () => isCurrent() && !this.ended.signal.aborted;
    let from: number | null = null;
    try {
      if (isWanted()) from = least === 0 ? ALWAYS_LONG : await network.timeLongRuns(session, inputs, least);
    } catch (error) {
      // A network that is released while it is timed refuses to run.
      if (isWanted()) throw error;
    } finally {
      if (from !== null && isWanted()) network.useForLongRuns(session, from);
      else await session.release();
    }
    this.ended.signal.throwIfAborted();
  }

  /** Gives up what is being prepared. */
  end(): void {
    this.ended.abort();
  }
}
