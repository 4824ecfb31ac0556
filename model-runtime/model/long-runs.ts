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
const WORTH_A_SECOND_FORM = 1.2;

/** Rows of a run that is long on any machine. */
const ALWAYS_LONG = 32;

/** A latent transformer's network as what it is compiled from. */
export interface LatentSource<C extends Weights> {
  checkpoint: C;
  config: TransformerConfig;
  int8Kernel: Int8Kernel;
  /** Builds the graph from weights in their places. */
  graph: (source: { checkpoint: C } & Pick<GraphContext, "int8Kernel" | "rows" | "joinsPast">) => Graph;
  /** Whether the stream has a basis of its own, in which no channel stands out. */
  isTurned: boolean;
  /** Tensors that the graph reads besides the layers', by the beginnings of their names. */
  others: readonly string[];
  /** What the network reads besides the cache, of so many rows, to time it with. */
  inputs: (rows: number) => Feeds;
}

/** The long runs of a model: its second form can be prepared for the network that is in use, once. */
export class LongRuns<C extends Weights> {
  /** The network that was prepared. */
  private prepared: CausalNetwork | null = null;
  private readonly ended = new AbortController();

  /** @param current the network in use; null while it has an adapter, which the second form does not know */
  constructor(
    private readonly source: LatentSource<C>,
    private readonly options: SessionOptions,
    private readonly current: () => CausalNetwork | null,
  ) {}

  /** Whether `prepare` would change anything. */
  get canPrepare(): boolean {
    const { checkpoint, config, int8Kernel } = this.source;
    const isQuantized = this.options.device === "cpu" && int8Kernel !== "float32" && hasPlainBlocks(checkpoint, config);
    const network = this.current();
    return isQuantized && network !== null && this.prepared !== network;
  }

  /** Bytes that the model takes more once it is prepared, where it `canPrepare`; as many again for a moment while the second form is compiled. */
  get byteLength(): number {
    return latentRowsBytes(this.source.checkpoint, this.source.config);
  }

  /**
   * Compiles the second form: some seconds of work in steps for 100 million weights. What is read from then on uses it; what was
   * read stays. An adapter may come meanwhile, and the form is then given up.
   * @param least how many times as fast long runs must be, by a short timing, for it to be kept; 0 times nothing
   * @throws an AbortError when `end` is called meanwhile
   */
  async prepare(least = WORTH_A_SECOND_FORM): Promise<void> {
    const network = this.current();
    if (network === null || !this.canPrepare) return;
    this.prepared = network;
    const { checkpoint, config, int8Kernel, graph, isTurned, others, inputs } = this.source;
    const form = { isNarrow: await saturates(this.options), isTurned };
    const { weights, file, rows } = await makeLatentRows(checkpoint, config, form, others, this.ended.signal);
    const source = { checkpoint: { ...checkpoint, ...weights }, int8Kernel, rows, joinsPast: true };
    const session = await createSession(graph(source), { ...this.options, file });
    discard(file.data);
    const isWanted = () => network === this.current() && !this.ended.signal.aborted;
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

  /** Gives up what is being prepared; called when the model is released. */
  end(): void {
    this.ended.abort();
  }
}
