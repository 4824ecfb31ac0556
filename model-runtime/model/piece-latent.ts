/**
 * The latent transformer over pieces: asked for the next piece after a path, it keeps keys and values of the last path
 * and runs what the asked one does not share with it (docs/lexicon.md, section 6).
 *
 * Shapes: N new positions, M positions read out, E width, V pieces, S sorted pieces.
 */

import type { LexiconConfig } from "../checkpoint/lexicon-config";
import { type LexiconCheckpoint, pieceEmbeddingName } from "../checkpoint/open-lexicon";
import type { RowReader } from "../checkpoint/row-reader";
import { Graph } from "../graph/graph";
import type { PieceLatent } from "../lexicon/reader";
import type { Feeds, Session } from "../session";
import type { CausalNetwork } from "./causal-network";
import type { KvCache } from "./kv-cache";
import { type GraphContext, linear } from "./linear";
import { RowStore } from "./row-store";
import { pack, rmsNorm, stackInputs, transformerStack } from "./transformer";

interface Source extends Omit<GraphContext, "graph"> {
  checkpoint: LexiconCheckpoint;
}

/** Layers: `embedding` [N, E] -> states [N, E] after the final norm, keys and values. */
export function pieceLatentGraph(source: Source): Graph {
  const context = { ...source, graph: new Graph("latent") };
  const { latent } = source.checkpoint.config;
  const embedding = context.graph.input("embedding", ["N", latent.hiddenSize]);
  const inputs = stackInputs(context.graph, latent);
  const stack = transformerStack(context, "model.global_transformer", latent, inputs, embedding);
  pack(context.graph, [rmsNorm(context, stack.hidden, "model.lexicon.norm", latent.normEps)], stack.newKeysAndValues);
  return context.graph;
}

/**
 * Readout: `states` [M, E] -> `masses` [M, S + 1], softmax over the pieces that have bytes, sorted, and EOS.
 * @param order [S] piece at each place
 */
export function readoutGraph(source: Source, order: Int32Array): Graph {
  const context = { ...source, graph: new Graph("readout") };
  const { graph } = context;
  const { latent, eosPiece }: LexiconConfig = source.checkpoint.config;
  const states = graph.input("states", ["M", latent.hiddenSize]);
  const logits = linear(context, states, pieceEmbeddingName.replace(/\.weight$/, ""));
  const readable = graph.int64([...order, eosPiece]);
  const chosen = graph.node("Gather", [logits, readable], ["M", order.length + 1], { attributes: { axis: 1 } });
  graph.output("masses", graph.node("Softmax", [chosen], chosen.shape, { attributes: { axis: -1 } }));
  return graph;
}

/** Positions that go through the layers in one run: enough for full speed, few enough to stop soon. */
const CHUNK = 64;
/** Masses that are kept, at the path's last positions: 200 kB each. */
const KEPT_MASSES = 8;

/** The networks in use: layers, readout, and rows of the embedding table. */
export interface PieceNetworks {
  layers: CausalNetwork;
  readout: Session;
  embedding: RowReader;
}

/** One path of pieces and what is cached of it. Several texts may ask in turn; what they share is run once. */
export class PiecePath implements PieceLatent {
  /** Runs of the layers, and positions they computed. */
  steps = 0;
  positions = 0;
  private path: Int32Array = new Int32Array(0);
  private readonly cache: KvCache;
  private readonly states: RowStore;
  /** Position -> masses after it. */
  private readonly masses = new Map<number, Float32Array>();
  /** So many positions stay cached, whatever is asked. */
  private kept = 0;
  /** The last question; the next one waits for it. */
  private last: Promise<unknown> = Promise.resolve();

  constructor(private readonly networks: PieceNetworks) {
    this.cache = networks.layers.createCache();
    this.states = new RowStore(networks.layers.config.hiddenSize);
  }

  /** Bytes held. */
  get byteLength(): number {
    return (
      this.cache.byteLength + this.states.byteLength + [...this.masses.values()].reduce((n, m) => n + m.byteLength, 0)
    );
  }

  ask(path: Int32Array, signal?: AbortSignal): Promise<Float32Array> {
    return this.afterLast(() => this.answer(path, signal));
  }

  expect(path: Int32Array, signal?: AbortSignal): Promise<void> {
    return this.afterLast(async () => {
      this.kept = 0;
      await this.follow(path, signal);
      this.kept = path.length;
    });
  }

  forget(): void {
    this.kept = 0;
  }

  private afterLast<T>(act: () => Promise<T>): Promise<T> {
    const result = this.last.then(act);
    this.last = result.catch(() => undefined);
    return result;
  }

  private async answer(path: Int32Array, signal?: AbortSignal): Promise<Float32Array> {
    const shared = this.shared(path);
    if (shared < Math.min(path.length, this.kept)) {
      if (path.length - shared <= CHUNK) return this.answerBeside(path, shared, signal);
      this.kept = 0;
    }
    await this.follow(path, signal);
    const position = path.length - 1;
    let masses = this.masses.get(position);
    if (masses === undefined) {
      masses = await this.readOut(this.states.slice(position, position + 1), signal);
      if (this.masses.size === KEPT_MASSES) this.masses.delete(this.masses.keys().next().value!);
      this.masses.set(position, masses);
    }
    return masses;
  }

  /** What follows a path that leaves the kept one after `shared` positions; the kept one stays. */
  private async answerBeside(path: Int32Array, shared: number, signal?: AbortSignal): Promise<Float32Array> {
    const count = path.length - shared;
    const inputs = this.inputs(path, shared, count);
    const { data, stride } = await this.networks.layers.runBeside(this.cache, shared, count, inputs, signal);
    this.positions += count;
    this.steps++;
    return this.readOut(data.subarray((count - 1) * stride, count * stride), signal);
  }

  private async readOut(state: Float32Array, signal?: AbortSignal): Promise<Float32Array> {
    const feeds = { states: { data: state, shape: [1, state.length] } };
    return (await this.networks.readout.run(feeds, signal)).masses;
  }

  /** How many positions of `path` are cached. */
  private shared(path: Int32Array): number {
    const most = Math.min(path.length, this.cache.length);
    let shared = 0;
    while (shared < most && path[shared] === this.path[shared]) shared++;
    return shared;
  }

  /** Makes `path` the cached one; a longer cached path with the same beginning stays. */
  private async follow(path: Int32Array, signal?: AbortSignal): Promise<void> {
    const shared = this.shared(path);
    if (shared === path.length) return;
    this.cache.truncate(shared);
    this.states.truncate(shared);
    for (const position of this.masses.keys()) if (position >= shared) this.masses.delete(position);
    this.path = path;
    const { layers } = this.networks;
    while (this.cache.length < path.length) {
      const from = this.cache.length;
      const count = Math.min(CHUNK, path.length - from);
      const { data, stride } = await layers.run(this.cache, count, this.inputs(path, from, count), null, signal);
      this.states.append(data, count, stride);
      this.positions += count;
    }
    this.steps++;
  }

  private inputs(path: Int32Array, from: number, count: number): Feeds {
    const { layers, embedding } = this.networks;
    const width = layers.config.hiddenSize;
    const rows = new Float32Array(count * width);
    for (let row = 0; row < count; row++) embedding.readRow(path[from + row], rows, row * width);
    return { embedding: { data: rows, shape: [count, width] } };
  }
}
