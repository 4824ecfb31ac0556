/** A path of pieces and what is cached of it: keys and values, states, and masses after its last positions. */
import type { CausalNetwork } from "./causal-network";
import type { KvCache } from "./kv-cache";
import { RowStore } from "./row-store";

/** Masses that are kept: 200 kB each. */
const KEPT_MASSES = 32;

export class PiecePath {
  /** Position -> masses after it. */
  readonly masses = new Map<number, Float32Array>();

  private constructor(
    private pieces: Int32Array,
    readonly cache: KvCache,
    readonly states: RowStore,
  ) {}

  /** @param stateWidth of what is kept of a position, the state first */
  static empty(layers: CausalNetwork, stateWidth: number): PiecePath {
    return new PiecePath(new Int32Array(0), layers.createCache(), new RowStore(stateWidth));
  }

  /** Number of positions. */
  get length(): number {
    return this.cache.length;
  }

  /** Bytes held. */
  get byteLength(): number {
    let masses = 0;
    for (const each of this.masses.values()) masses += each.byteLength;
    return this.cache.byteLength + this.states.byteLength + masses;
  }

  /** How many positions of `path` are cached. */
  shared(path: Int32Array): number {
    const most = Math.min(path.length, this.length);
    let shared = 0;
    while (shared < most && path[shared] === this.pieces[shared]) shared++;
    return shared;
  }

  /** An independent copy of the first `length` positions. */
  forkFirst(length: number): PiecePath {
    const states = new RowStore(this.states.width);
    states.append(this.states.slice(0, length), length, states.width);
    return new PiecePath(this.pieces.slice(0, length), this.cache.forkFirst(length), states);
  }

  /** Forgets what `path` does not share; it is what the next rows to be appended belong to. */
  turnTo(path: Int32Array): void {
    const shared = this.shared(path);
    if (shared === path.length) return;
    this.cache.truncate(shared);
    this.states.truncate(shared);
    for (const position of this.masses.keys()) if (position >= shared) this.masses.delete(position);
    this.pieces = path;
  }

  remember(position: number, masses: Float32Array): void {
    this.masses.delete(position);
    if (this.masses.size >= KEPT_MASSES) this.masses.delete(this.masses.keys().next().value!);
    this.masses.set(position, masses);
  }
}
