/**
 * The draft layer run along paths of pieces: what is likely to follow a path whose last states the latent has not computed.
 * It keeps keys and values of each path it has looked at, as long as that path is kept.
 *
 * Shapes: E width, I layers of the latent that it sees, N rows of a run, K proposals, V pieces that can be proposed.
 */
import type { LexiconCheckpoint } from "../checkpoint/open-lexicon";
import { drafterPrefix } from "../checkpoint/open-lexicon";
import type { RowReader } from "../checkpoint/row-reader";
import { readWeight } from "../checkpoint/tensor-data";
import type { Proposal } from "../lexicon/latent";
import type { Feeds } from "../session";
import type { CausalNetwork } from "./causal-network";
import { PROPOSALS } from "./draft-layer";
import type { KvCache } from "./kv-cache";
import type { RowStore } from "./row-store";

/** Pieces that the draft layer can propose, in the order of its readout. */
export function draftedPieces(checkpoint: LexiconCheckpoint): Int32Array {
  return Int32Array.from(readWeight(checkpoint, `${drafterPrefix}pieces`));
}

/** What is cached of a path: rows whose states were the latent's. */
interface Seen {
  cache: KvCache;
  pieces: Int32Array;
}

export class Foresight {
  private readonly seen = new WeakMap<object, Seen>();

  /** @param innerCount I */
  constructor(
    private readonly network: CausalNetwork,
    private readonly pieces: Int32Array,
    private readonly embedding: RowReader,
    private readonly innerCount: number,
  ) {}

  /** Of what it needs of each position: the state, and the outputs of the layers that it sees. */
  get stateWidth(): number {
    return (1 + this.innerCount) * this.network.config.hiddenSize;
  }

  /**
   * Proposes what follows `pieces`, one after the other.
   * @param owner a path kept by the latent; `states` [at least `known`, (1 + I) E] are those after its pieces
   * @param known how many of `pieces` are that path's
   * @param choose picks the piece that is drafted next, or ends the draft with null
   */
  async draft(
    owner: object,
    states: RowStore,
    known: number,
    pieces: Int32Array,
    choose: (proposals: Proposal[]) => number | null,
    signal?: AbortSignal,
  ): Promise<void> {
    // Rows whose state before them is the latent's come in one run; the rest is foreseen on what was foreseen.
    const exact = Math.min(known + 1, pieces.length);
    const seen = this.follow(owner, pieces.subarray(0, exact - 1));
    const { cache } = seen;
    try {
      cache.skipTo(exact - 1);
      const before = this.statesBefore(states, cache.length, exact);
      let result = await this.run(cache, pieces.subarray(cache.length, exact), before, signal);
      cache.rebuilt();
      for (let at = exact; at < pieces.length; at++)
        result = await this.run(cache, pieces.subarray(at, at + 1), result.state, signal);
      for (;;) {
        const next = choose(result.proposals);
        if (next === null) return;
        result = await this.run(cache, Int32Array.of(next), result.state, signal);
      }
    } finally {
      cache.truncate(Math.min(exact, cache.length));
      seen.pieces = pieces.slice(0, exact);
    }
  }

  release(): Promise<void> {
    return this.network.release();
  }

  /** What is cached of the path, cut to what `pieces` share with it. */
  private follow(owner: object, pieces: Int32Array): Seen {
    let seen = this.seen.get(owner);
    if (seen === undefined) {
      seen = { cache: this.network.createCache(), pieces: new Int32Array(0) };
      this.seen.set(owner, seen);
    }
    const most = Math.min(seen.pieces.length, pieces.length, seen.cache.length);
    let shared = 0;
    while (shared < most && seen.pieces[shared] === pieces[shared]) shared++;
    if (shared < seen.cache.length) seen.cache.truncate(shared);
    return seen;
  }

  /** States before pieces `from` to `to`; nothing is before the first. */
  private statesBefore(states: RowStore, from: number, to: number): Float32Array {
    const width = states.width;
    const rows = new Float32Array((to - from) * width);
    const first = Math.max(from, 1);
    rows.set(states.slice(first - 1, to - 1), (first - from) * width);
    return rows;
  }

  /** @param states before the pieces [N, (1 + I) E], or a foreseen one [E] */
  private async run(cache: KvCache, pieces: Int32Array, states: Float32Array, signal?: AbortSignal) {
    const count = pieces.length;
    const width = this.network.config.hiddenSize;
    const embedding = new Float32Array(count * width);
    for (let row = 0; row < count; row++) this.embedding.readRow(pieces[row], embedding, row * width);
    const columns = (from: number, to: number) => ({
      data: columnsOf(states, states.length / count, from * width, to * width),
      shape: [count, (to - from) * width],
    });
    const inputs: Feeds = { states: columns(0, 1), embedding: { data: embedding, shape: [count, width] } };
    if (this.innerCount > 0) inputs.inner = columns(1, 1 + this.innerCount);
    const { data } = await this.network.run(cache, count, inputs, null, signal);
    const proposed = Math.min(PROPOSALS, this.pieces.length);
    const last = data.subarray(data.length - 2 * proposed - width);
    const proposals = Array.from({ length: proposed }, (_, i) => ({
      chance: last[i],
      piece: this.pieces[last[proposed + i]],
    }));
    return { proposals, state: last.slice(2 * proposed) };
  }
}

/** Columns `from` to `to` of rows that are `stride` wide, zeros where the rows end before. */
function columnsOf(rows: Float32Array, stride: number, from: number, to: number): Float32Array {
  if (from === 0 && to === stride) return rows;
  const count = rows.length / stride;
  const columns = new Float32Array(count * (to - from));
  for (let row = 0; row < count && from < stride; row++)
    columns.set(rows.subarray(row * stride + from, row * stride + to), row * (to - from));
  return columns;
}
