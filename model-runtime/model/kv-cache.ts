/**
 * Keys and values of the positions a stack has seen: append, truncate, fork.
 *
 * A network without a window keeps everything. A windowed one keeps its window and some slack, so that short
 * truncations cost nothing; after a longer one the rows within the receptive field must be run again
 * (`truncate` says from where), which is exact because nothing older can be seen.
 *
 * Shapes: N new rows, L layers, K key/value heads, D head width, C slots.
 */
import type { TransformerConfig } from "../checkpoint/config";
import type { Feeds } from "../session";
import { RotaryTable, type Rotation } from "./rotary";
import { headShape } from "./transformer";

/** Added to scores that must not count. Finite, because a row of -Infinity alone would be NaN. */
export const HIDDEN_SCORE = -1e30;

/** What a row sees of the cached positions, those from `from` to `to`, and of the rows that are run with it. */
export interface RowView {
  from: number;
  to: number;
  /** Itself among them. */
  rows: readonly number[];
  rotation: Rotation;
}

export class KvCache {
  /** Positions seen so far; the next row's position. */
  length = 0;
  /** First position whose keys and values are held and right. */
  private first = 0;
  /** Position of slot 0; `first - base` slots before the first are stale. */
  private base = 0;
  private slots = 0;
  /** Whether rows are being run again from a restart on, the first of them with an incomplete past. */
  private rebuilding = false;
  /** Names of the rows by slot: copies of a row, in caches forked from one another, have the same. */
  private names: number[] = [];
  /** Per layer [K, C, D]. */
  private keys: Float32Array[] = [];
  private values: Float32Array[] = [];

  constructor(
    private readonly config: TransformerConfig,
    private readonly rotary = new RotaryTable(config.ropeTheta, config.headDim),
    /** Whether rows are run where empty slots cost nothing: then there are more of them, and what is held is moved less often. */
    private readonly isRoomy = false,
  ) {
    this.reallocate(64);
  }

  /** Bytes held. */
  get byteLength(): number {
    return this.config.layers * 2 * this.config.kvHeads * this.config.headDim * this.slots * 4;
  }

  /**
   * The inputs of a run over the next rows.
   * @param count N
   * @param floors first position each row may see (documents and resets); null is 0 for all
   */
  feeds(count: number, floors: ArrayLike<number> | null): Feeds {
    const { heads, kvHeads, headDim, layers } = this.config;
    const { cos, sin } = this.rotary.slice(this.length, count);
    const columns = this.slots + count;
    const feeds: Feeds = {
      cos: { data: cos, shape: [count, headDim / 2] },
      sin: { data: sin, shape: [count, headDim / 2] },
      mask: { data: this.mask(count, floors), shape: [count, columns] },
      pastAndNew: { data: BigInt64Array.of(BigInt(this.slots), BigInt(count)), shape: [2] },
    };
    const shape = [...headShape(heads, kvHeads), this.slots, headDim];
    for (let layer = 0; layer < layers; layer++) {
      feeds[`pastKeys${layer}`] = { data: this.keys[layer], shape };
      feeds[`pastValues${layer}`] = { data: this.values[layer], shape };
    }
    return feeds;
  }

  /**
   * The inputs of a run over rows that form a tree, for caches without a window. A row sees its parent and what that one
   * sees, and itself.
   * @param parents [N] of each row: the index of an earlier row, or -1 - P where it follows the first P cached positions
   */
  treeFeeds(parents: ArrayLike<number>): Feeds {
    const count = parents.length;
    const columns = this.slots + count;
    const mask = new Float32Array(count * columns).fill(HIDDEN_SCORE);
    const positions = new Int32Array(count);
    for (let row = 0; row < count; row++) {
      const parent = parents[row];
      const start = row * columns;
      if (parent < 0) {
        positions[row] = -1 - parent;
        mask.fill(0, start, start + positions[row]);
      } else {
        positions[row] = positions[parent] + 1;
        mask.copyWithin(start, parent * columns, (parent + 1) * columns);
      }
      mask[start + this.slots + row] = 0;
    }
    return { ...this.feeds(count, null), ...this.rotations(positions), mask: { data: mask, shape: [count, columns] } };
  }

  /** What is held, as the inputs of a loop on the device whose names begin with `name`, for up to `count` rows to come. */
  loopFeeds(name: string, count: number): Feeds {
    const { cos, sin, mask: _, pastAndNew: __, ...past } = this.feeds(count, null);
    const feeds: Feeds = { [`${name}.cos`]: cos, [`${name}.sin`]: sin };
    for (const [kind, feed] of Object.entries(past)) feeds[`${name}.${kind}`] = feed;
    const positions = Float32Array.from({ length: this.slots }, (_, slot) => {
      const position = this.base + slot;
      return position >= this.first && position < this.length ? position : HIDDEN_SCORE;
    });
    feeds[`${name}.positions`] = { data: positions, shape: [1, this.slots] };
    return feeds;
  }

  /**
   * What each of the next rows sees.
   * @param floors as in `feeds`
   */
  views(count: number, floors: ArrayLike<number> | null): RowView[] {
    return Array.from({ length: count }, (_, row) => {
      const position = this.length + row;
      const lowest = this.firstVisibleAt(position, floors ? floors[row] : 0);
      const rows = [];
      for (let each = Math.max(0, lowest - this.length); each <= row; each++) rows.push(each);
      return { from: Math.min(lowest, this.length), to: this.length, rows, rotation: this.rotary.slice(position, 1) };
    });
  }

  /**
   * What each of some rows sees that form a tree.
   * @param parents as in `treeFeeds`
   */
  treeViews(parents: ArrayLike<number>): RowView[] {
    const views: (RowView & { position: number })[] = [];
    for (let row = 0; row < parents.length; row++) {
      const parent = parents[row] < 0 ? null : views[parents[row]];
      const position = parent === null ? -1 - parents[row] : parent.position + 1;
      views.push({
        from: 0,
        to: parent === null ? position : parent.to,
        rows: [...(parent?.rows ?? []), row],
        rotation: this.rotary.slice(position, 1),
        position,
      });
    }
    return views;
  }

  /** Keys and values [to - from, D] of one head, of positions that are held: views that hold until the next append. */
  rowsOf(layer: number, head: number, from: number, to: number): { keys: Float32Array; values: Float32Array } {
    const { headDim } = this.config;
    const start = head * this.slots - this.base;
    const rows = (cached: Float32Array) => cached.subarray((start + from) * headDim, (start + to) * headDim);
    return { keys: rows(this.keys[layer]), values: rows(this.values[layer]) };
  }

  /** Name of the row at a position before the next one; undefined where it is not held any more. */
  nameOf(position: number): number | undefined {
    return this.names[position - this.base];
  }

  /** Makes room for about so many rows at once, where empty slots cost nothing. */
  reserve(count: number): void {
    if (this.isRoomy && this.config.window === null) this.makeRoom(Math.min(count, MOST_POSITIONS - this.length));
  }

  /**
   * Takes the new rows' keys and values as a run gives them.
   * @param keysAndValues [L, 2, K, N, D]
   * @param rows N, of which the first `count` are taken
   */
  append(keysAndValues: Float32Array, count: number, rows = count): void {
    this.makeRoom(count);
    const { kvHeads, headDim, layers } = this.config;
    const slot = this.length - this.base;
    const size = count * headDim;
    let from = 0;
    for (let layer = 0; layer < layers; layer++)
      for (const cached of [this.keys[layer], this.values[layer]])
        for (let head = 0; head < kvHeads; head++, from += rows * headDim)
          copyValues(keysAndValues, from, cached, (head * this.slots + slot) * headDim, size);
    for (let row = 0; row < count; row++) this.names[slot + row] = newestName++;
    this.length += count;
  }

  /**
   * Forgets the positions from `length` on. Returns the position from which rows must be run again before the
   * next new one (`length` itself when all that can be seen is still held); the cache then stands at that position.
   */
  truncate(length: number): number {
    if (length > this.length) throw new RangeError(`cache holds ${this.length} positions, not ${length}`);
    const { window, layers } = this.config;
    const firstVisible = window === null ? 0 : Math.max(0, length - window + 1);
    if (this.first <= firstVisible) {
      this.length = length;
      return length;
    }
    this.restartAt(Math.max(0, length - layers * (window! - 1) - slack(window!)));
    return this.length;
  }

  /**
   * Leaves out the rows before `position`, when no later result needs them: the cache then stands at a position from
   * which, once the rows up to `position` have been run, all that can be seen is right.
   */
  skipTo(position: number): void {
    const { window, layers } = this.config;
    if (window === null) return;
    const restart = position - layers * (window - 1) - slack(window);
    if (restart > this.length) this.restartAt(restart);
  }

  /** Call before rows are run of which only those from `position` on are wanted: what these cannot see may then be left out of others. */
  wantFrom(position: number): void {
    const { window } = this.config;
    if (window !== null && position - window - slack(window) >= this.length) this.rebuilding = true;
  }

  /**
   * How many layers of the row at `position` are needed for rows from `wanted` on, and for truncations by the slack; of the next layer only
   * keys and values are.
   */
  layersSeen(position: number, wanted: number): number {
    const { window, layers } = this.config;
    if (window === null || position >= wanted) return layers;
    const distance = wanted - slack(window) - position;
    return Math.min(layers - 1, Math.max(0, layers - Math.ceil(distance / (window - 1))));
  }

  /** Call when the rows from a restart up to the text's end have been run: those with an incomplete past become stale. */
  rebuilt(): void {
    const window = this.config.window;
    if (!this.rebuilding || window === null) return;
    this.first = Math.max(this.first, this.length - window + 1 - slack(window));
    this.rebuilding = false;
  }

  /** An independent copy of the first `length` positions, for caches without a window; it takes no more room than they need. */
  forkFirst(length: number): KvCache {
    const copy = new KvCache(this.config, this.rotary, this.isRoomy);
    [copy.slots, copy.keys, copy.values, copy.length] = [this.slots, [...this.keys], [...this.values], length];
    copy.names = this.names;
    copy.reallocate(roundUp(length + 64));
    return copy;
  }

  /** An independent copy. */
  fork(): KvCache {
    const copy = new KvCache(this.config, this.rotary, this.isRoomy);
    copy.length = this.length;
    copy.first = this.first;
    copy.base = this.base;
    copy.slots = this.slots;
    copy.rebuilding = this.rebuilding;
    copy.keys = this.keys.map((keys) => keys.slice());
    copy.values = this.values.map((values) => values.slice());
    copy.names = this.names.slice();
    return copy;
  }

  /** Rotations of rows at any positions. */
  private rotations(positions: Int32Array): Feeds {
    const width = this.config.headDim / 2;
    const [cos, sin] = [new Float32Array(positions.length * width), new Float32Array(positions.length * width)];
    positions.forEach((position, row) => {
      const rotation = this.rotary.slice(position, 1);
      cos.set(rotation.cos, row * width);
      sin.set(rotation.sin, row * width);
    });
    const shape = [positions.length, width];
    return { cos: { data: cos, shape }, sin: { data: sin, shape } };
  }

  /** [N, C + N]; query i sees key j iff floor(i) <= j <= i and i - j < window. */
  private mask(count: number, floors: ArrayLike<number> | null): Float32Array {
    const columns = this.slots + count;
    const mask = new Float32Array(count * columns).fill(HIDDEN_SCORE);
    for (let row = 0; row < count; row++) {
      const lowest = this.firstVisibleAt(this.length + row, floors ? floors[row] : 0);
      const start = row * columns;
      if (lowest < this.length) mask.fill(0, start + lowest - this.base, start + this.length - this.base);
      mask.fill(0, start + this.slots + Math.max(0, lowest - this.length), start + this.slots + row + 1);
    }
    return mask;
  }

  private firstVisibleAt(position: number, floor: number): number {
    return Math.max(this.first, floor, position - (this.config.window ?? Number.POSITIVE_INFINITY) + 1);
  }

  private restartAt(position: number): void {
    this.length = this.first = this.base = position;
    this.rebuilding = position > 0;
  }

  private makeRoom(count: number): void {
    const { window } = this.config;
    const needed = this.length + count - this.base;
    if (needed <= this.slots) return;
    if (window === null) {
      // A session multiplies empty slots like others at every step, so room grows by little.
      const growth = this.isRoomy && needed <= MOST_POSITIONS ? ROOMY_GROWTH : 1.125;
      this.reallocate(roundUp(Math.max(needed, this.slots + 96, Math.ceil(this.slots * growth))));
      return;
    }
    // What is kept beyond the window makes short truncations free; as much room again makes compaction rare.
    const most = window + 2 * slack(window) + (this.isRoomy ? Math.min(window, ROOMY) : 0);
    const room = roundUp(Math.max(count, Math.min(this.isRoomy ? Math.max(needed, 2 * this.slots) : needed, most)));
    if (room < needed) {
      const keep = Math.max(0, window + slack(window) - count);
      this.first = Math.max(this.first, this.length - keep);
    }
    this.reallocate(room);
  }

  /** Moves what is held to arrays of `slots` slots, the first held position into slot 0. */
  private reallocate(slots: number): void {
    const { kvHeads, headDim, layers } = this.config;
    const [shift, held] = [this.first - this.base, this.length - this.first];
    const move = (cached: Float32Array | undefined) => {
      const moved = new Float32Array(kvHeads * slots * headDim);
      for (let head = 0; head < kvHeads && held > 0; head++) {
        const from = (head * this.slots + shift) * headDim;
        moved.set(cached!.subarray(from, from + held * headDim), head * slots * headDim);
      }
      return moved;
    };
    for (let layer = 0; layer < layers; layer++) {
      this.keys[layer] = move(this.keys[layer]);
      this.values[layer] = move(this.values[layer]);
    }
    this.names = this.names.slice(shift, shift + held);
    this.slots = slots;
    this.base = this.first;
  }
}

/** Values of a few rows are copied one by one: views of them take longer to make than they have to be copied. */
const FEW_VALUES = 256;

function copyValues(from: Float32Array, first: number, to: Float32Array, at: number, count: number): void {
  if (count > FEW_VALUES) to.set(from.subarray(first, first + count), at);
  else for (let i = 0; i < count; i++) to[at + i] = from[first + i];
}

/** Positions of a network without a window that the row kernels hold at most. */
export const MOST_POSITIONS = 4096;

/** How much more room a roomy cache without a window takes. */
const ROOMY_GROWTH = 1.75;
/** Slots that a roomy cache with a window has besides, at most. */
const ROOMY = 256;

/** Names of rows are numbers from 0 on. */
let newestName = 0;

/** Positions kept beyond the window, so that truncating by as many costs nothing. */
export function slack(window: number): number {
  return Math.max(32, window >> 4);
}

function roundUp(slots: number): number {
  return Math.ceil(slots / 32) * 32;
}
