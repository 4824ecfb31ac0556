/**
 * A text inside the model: append ids, take the last ones back, fork; always equal to a run from scratch
 * (blt-spec section 11). The four networks lag behind the text after a truncation and catch up at the next append.
 *
 * Shapes: n ids in the text, N ids of one chunk, M patches that close in it, S state width, k vectors a patch.
 */
import type { BltConfig, PatchingConfig } from "../checkpoint/config";
import { argmax, maskIds, neverGenerated } from "../generation/sampling";
import { BYTE_OFFSET, EOS, VOCABULARY_SIZE } from "../ids";
import { createPatchRule, type PatchRule, resetsContext, ruleStateAfter } from "../patching/patcher-rule";
import type { Feeds } from "../session";
import { BYTE_CHUNK, MOST_BYTES } from "./byte-chunk";
import { type CausalNetwork, joinRows, type Rows } from "./causal-network";
import { entropyOfLogits } from "./entropy";
import type { HashEmbedding } from "./hash-embedding";
import { HIDDEN_SCORE, type KvCache } from "./kv-cache";
import { crossRowWidth, encoderStateLayers } from "./networks";
import { RowStore } from "./row-store";
import type { AppendOptions, TextState } from "./text-state";

/** Bytes whose patches go through the latent transformer in one run: large enough for full speed, small enough to stop soon. */
const TEXT_CHUNK = 512;
/** What room is made for before a text is read; patches may be shorter. */
const USUAL_PATCH_BYTES = 4;

export interface Networks {
  patcher: CausalNetwork | null;
  encoder: CausalNetwork;
  latent: CausalNetwork;
  decoder: CausalNetwork;
}

/** What a text asks of its model (`Blt`). */
export interface SequenceModel {
  readonly config: BltConfig;
  readonly networks: Networks;
  /** Byte and hash n-gram embedding of the local encoder. */
  readonly embedding: HashEmbedding;
  /** Rows of the patcher's embedding table for ids `from` to `to`: [N, hidden]. */
  patcherEmbedding(ids: ArrayLike<number>, from: number, to: number): Float32Array;
}

/** What a run of the device loop starts from (`device-loop-graph.ts`). */
export interface LoopStart {
  lastIds: number[];
  feeds: Feeds;
  /** Values in the decoder's view of patches that are handed over. */
  crossLength: number;
}

/** What a run of the device loop made of T ids. */
export interface LoopRows {
  ids: number[];
  /** [T, 260] */
  logits: Float32Array;
  /** [T] */
  entropies: Float32Array;
  /** [T, S] */
  states: Float32Array;
  /** A row for each patch that closed. */
  cross: Float32Array;
  /** By network: [2 * layers, K, rows, D]. */
  keysAndValues: Record<string, Float32Array>;
}

export class BltSequence implements TextState {
  private ids: number[] = [];
  private entropyList: number[] = [];
  /** Start of each patch, the open one included; the open patch is empty when its start is `length`. */
  private starts: number[] = [];
  /** Closed patches once the byte at each position is known: its decoder row looks at the newest of them. */
  private closedAfter: number[] = [];
  /** First position each position may attend to, in the local networks and in the patcher; first patch, in the latent. */
  private byteFloors: number[] = [];
  private patcherFloors: number[] = [];
  private patchFloors: number[] = [];
  private states: RowStore;
  private cross: RowStore;
  private rule: PatchRule;
  private caches: { patcher: KvCache | null; encoder: KvCache; latent: KvCache; decoder: KvCache };
  /** The decoder with which the text was read; the model has another one when an adapter comes into use. */
  private readBy: CausalNetwork | null;

  /** Use `Blt.createSequence`. */
  constructor(
    private readonly model: SequenceModel,
    readonly patching: PatchingConfig,
  ) {
    const { config, networks } = model;
    this.states = new RowStore(config.encoder.hiddenSize * encoderStateLayers(config).length);
    this.cross = new RowStore(crossRowWidth(config));
    this.rule = createPatchRule(patching);
    this.readBy = networks.decoder;
    const patcher = patching.mode === "entropy" ? networks.patcher : null;
    this.caches = {
      patcher: patcher?.createCache() ?? null,
      encoder: networks.encoder.createCache(),
      latent: networks.latent.createCache(),
      decoder: networks.decoder.createCache(),
    };
  }

  /** Number of ids, BOS included. */
  get length(): number {
    return this.ids.length;
  }

  idAt(position: number): number {
    return this.ids[position];
  }

  /** Entropy in nats of the patcher's next-byte distribution after each id; NaN in modes that need none. */
  get entropies(): readonly number[] {
    return this.entropyList;
  }

  /** Start positions of all patches; `length` is among them when the next byte opens a patch. */
  get patchStarts(): readonly number[] {
    return this.starts;
  }

  /** Bytes held by caches and rows. */
  get byteLength(): number {
    const { patcher, encoder, latent, decoder } = this.caches;
    const caches = [patcher, encoder, latent, decoder].reduce((sum, cache) => sum + (cache?.byteLength ?? 0), 0);
    return caches + this.states.byteLength + this.cross.byteLength;
  }

  /**
   * Appends ids; the first of a text is BOS.
   * @returns logits of the next byte, [number of new ids, 260] for `all`, [1, 260] for `last`, empty for `none`
   */
  async append(ids: ArrayLike<number>, { logits = "last", signal }: AppendOptions = {}): Promise<Float32Array> {
    await this.followAdapter(signal);
    const all = new Float32Array(logits === "all" ? ids.length * VOCABULARY_SIZE : 0);
    let last = new Float32Array(0);
    this.caches.latent.reserve(Math.floor(ids.length / USUAL_PATCH_BYTES));
    for (let from = 0, to = 0; from < ids.length; from = to) {
      // A short rest joins the chunk before it: a run of a few rows costs much more a row.
      to = ids.length - from <= 1.25 * TEXT_CHUNK ? ids.length : from + TEXT_CHUNK;
      const before = this.length;
      try {
        await this.appendChunk(Array.prototype.slice.call(ids, from, to), signal);
        const isEnd = to === ids.length;
        if (logits === "all") {
          const rows = await this.decode(before, signal);
          copyColumns(rows, VOCABULARY_SIZE, all, from * VOCABULARY_SIZE);
        } else if (isEnd && logits === "last") {
          this.caches.decoder.skipTo(this.length - 1);
          const { data, count, stride } = await this.decode(this.length - 1, signal);
          last = data.slice((count - 1) * stride, (count - 1) * stride + VOCABULARY_SIZE);
        }
      } catch (error) {
        this.truncate(before);
        throw error;
      }
    }
    return logits === "all" ? all : last;
  }

  /** Reads the text anew when an adapter has come into use since. */
  private async followAdapter(signal?: AbortSignal): Promise<void> {
    const { decoder } = this.model.networks;
    if (this.readBy === decoder) return;
    const ids = this.ids.slice();
    this.truncate(0);
    this.readBy = decoder;
    try {
      await this.append(ids, { logits: "none", signal });
    } catch (error) {
      // The text stays as it was, to be read at the next append.
      this.truncate(0);
      this.readBy = null;
      this.ids = ids;
      throw error;
    }
  }

  /** Forgets all ids from `length` on. */
  truncate(length: number): void {
    if (!(length >= 0 && length <= this.length)) throw new RangeError(`text has ${this.length} ids, not ${length}`);
    this.ids.length = length;
    this.entropyList.length = Math.min(this.entropyList.length, length);
    this.byteFloors.length = length;
    this.patcherFloors.length = length;
    while (this.starts.length > 0 && this.starts[this.starts.length - 1] > length) this.starts.pop();
    if (length === 0) this.starts = [];
    this.closedAfter.length = Math.min(this.closedAfter.length, length);
    const closed = Math.max(0, this.starts.length - 1);
    this.patchFloors.length = closed;
    this.states.truncate(length);
    this.cross.truncate(closed);
    const { patcher, encoder, latent, decoder } = this.caches;
    for (const cache of [patcher, encoder, decoder]) cache?.truncate(Math.min(cache.length, length));
    latent.truncate(Math.min(latent.length, closed));
    const read = this.closedAfter.length;
    this.rule = createPatchRule(this.patching);
    if (read > 0)
      this.rule.restore(
        ruleStateAfter(this.patching, this.ids[read - 1], {
          position: read,
          openLength: read - this.starts[this.starts.length - 1],
          entropy: this.entropyList[read - 1],
        }),
      );
  }

  /** An independent copy that may continue differently. */
  fork(): BltSequence {
    const copy = new BltSequence(this.model, this.patching);
    copy.readBy = this.readBy;
    const lists = [
      "ids",
      "entropyList",
      "starts",
      "closedAfter",
      "byteFloors",
      "patcherFloors",
      "patchFloors",
    ] as const;
    for (const list of lists) copy[list] = this[list].slice();
    copy.states = this.states.fork();
    copy.cross = this.cross.fork();
    copy.rule.restore(this.rule.snapshot());
    const { patcher, encoder, latent, decoder } = this.caches;
    copy.caches = {
      patcher: patcher?.fork() ?? null,
      encoder: encoder.fork(),
      latent: latent.fork(),
      decoder: decoder.fork(),
    };
    return copy;
  }

  /**
   * The likeliest bytes behind the text and `id`, written by encoder and decoder alone: no patch is closed, so the latent
   * transformer does not run and each byte sees the patches that are there (BLT-S, blt-spec section 16). The text stays
   * as it is.
   */
  async draftWithStaleLatent(id: number, most: number, signal?: AbortSignal): Promise<Uint8Array> {
    const before = this.length;
    const bytes: number[] = [];
    try {
      for (let next = id; bytes.length < most; ) {
        this.pushIds([next]);
        await this.runEncoder(signal);
        this.closedAfter.push(this.starts.length - 1);
        this.caches.decoder.skipTo(this.length - 1);
        const { data, count, stride } = await this.decode(this.length - 1, signal);
        next = argmax(
          maskIds(data.subarray((count - 1) * stride, (count - 1) * stride + VOCABULARY_SIZE), neverGenerated),
        );
        if (next === EOS) break;
        bytes.push(next - BYTE_OFFSET);
      }
    } finally {
      this.truncate(before);
    }
    return Uint8Array.from(bytes);
  }

  /**
   * Where the next ids would go on in a loop on the device; null when a network lags behind the text, when the text is
   * too short for the rule's general case, or when a position may not see all before it.
   * @param past how many of the last ids are wanted, 0 before the beginning
   * @param turns ids to come
   */
  loopStart(past: number, turns: number): LoopStart | null {
    const { ids, length, starts } = this;
    const caches = Object.entries(this.caches).filter(([, cache]) => cache !== null) as [string, KvCache][];
    const isBehind = caches.some(([name, cache]) => cache.length !== (name === "latent" ? starts.length - 1 : length));
    const isCut = this.byteFloors[length - 1] > 0 || this.patcherFloors[length - 1] > 0 || ids[length - 1] === EOS;
    if (length < 4 || isBehind || isCut) return null;
    const closed = starts.length - 1;
    const openStates = this.states.slice(starts[closed], length);
    const firstSeen = Math.max(0, closed - this.model.config.crossAttentionWindow.decoder);
    const cross = this.cross.slice(firstSeen, closed);
    const feeds: Feeds = {
      length: { data: BigInt64Array.of(BigInt(length)), shape: [1] },
      patches: { data: BigInt64Array.of(BigInt(closed)), shape: [1] },
      openStates: { data: openStates, shape: [length - starts[closed], this.states.width] },
      cross: { data: cross, shape: [closed - firstSeen, this.cross.width] },
      previousEntropy: { data: Float32Array.of(this.entropyList[length - 1]), shape: [1] },
    };
    for (const [name, cache] of caches) Object.assign(feeds, cache.loopFeeds(name, turns));
    const lastIds = Array.from({ length: past }, (_, i) => ids[length - past + i] ?? 0);
    return { lastIds, feeds, crossLength: cross.length };
  }

  /** Appends ids whose rows a loop on the device has made. */
  adopt({ ids, entropies, states, cross, keysAndValues }: LoopRows): void {
    const before = this.length;
    const closedBefore = this.starts.length - 1;
    this.pushIds(ids);
    ids.forEach((id, i) => {
      const entropy = this.caches.patcher === null ? Number.NaN : entropies[i];
      this.entropyList.push(entropy);
      if (this.rule.step(id, entropy)) this.closePatch(before + i + 1);
      this.closedAfter.push(this.starts.length - 1);
    });
    const closed = this.starts.length - 1 - closedBefore;
    if (cross.length !== closed * this.cross.width)
      throw new Error(`the loop closed ${cross.length / this.cross.width} patches, the rule ${closed}`);
    this.states.append(states, ids.length, this.states.width);
    if (closed > 0) this.cross.append(cross, closed, this.cross.width);
    const { patcher, encoder, latent, decoder } = this.caches;
    patcher?.append(keysAndValues.patcher, ids.length);
    encoder.append(keysAndValues.encoder, ids.length);
    if (closed > 0) latent.append(keysAndValues.latent, closed);
    decoder.append(keysAndValues.decoder, ids.length);
  }

  /** Encoder, patcher and latent transformer over new ids; the decoder follows when logits are asked for. */
  private async appendChunk(chunk: number[], signal?: AbortSignal): Promise<void> {
    const before = this.length;
    this.pushIds(chunk);
    await this.runPatcher(before, signal);
    await this.runEncoder(signal);
    const firstNew = Math.max(0, this.starts.length - 1);
    if (this.starts.length === 0) this.starts.push(0);
    for (let i = before; i < this.length; i++) {
      if (this.rule.step(this.ids[i], this.entropyList[i])) this.closePatch(i + 1);
      this.closedAfter.push(this.starts.length - 1);
    }
    await this.runLatent(firstNew, this.starts.length - 1, signal);
  }

  private pushIds(chunk: number[]): void {
    const documents = this.model.config.semantics === "meta";
    for (const id of chunk) {
      const previous = this.length - 1;
      const afterEos = documents && previous >= 0 && this.ids[previous] === EOS;
      const byteFloor = afterEos ? this.length : previous >= 0 ? this.byteFloors[previous] : 0;
      const afterReset = previous >= 0 && resetsContext(this.patching, this.ids[previous]);
      const patcherFloor = afterReset ? this.length : previous >= 0 ? this.patcherFloors[previous] : 0;
      this.ids.push(id);
      this.byteFloors.push(byteFloor);
      this.patcherFloors.push(Math.max(byteFloor, patcherFloor));
    }
  }

  private closePatch(end: number): void {
    const index = this.starts.length - 1;
    const start = this.starts[index];
    const previousFloor = index > 0 ? this.patchFloors[index - 1] : 0;
    // The patch that holds an EOS is the last one its successors do not see.
    const afterEos = index > 0 && this.patchHoldsEos(index - 1);
    this.patchFloors.push(afterEos ? index : previousFloor);
    if (end <= start) throw new Error(`patch ${index} would be empty at ${end}`);
    this.starts.push(end);
  }

  private patchHoldsEos(index: number): boolean {
    if (this.model.config.semantics !== "meta") return false;
    for (let i = this.starts[index]; i < this.starts[index + 1]; i++) if (this.ids[i] === EOS) return true;
    return false;
  }

  private async runPatcher(before: number, signal?: AbortSignal): Promise<void> {
    const { patcher } = this.caches;
    if (!patcher) {
      for (let i = before; i < this.length; i++) this.entropyList.push(Number.NaN);
      return;
    }
    const network = this.model.networks.patcher!;
    await this.advance(network, patcher, this.length, this.patcherFloors, signal, {
      inputs: (from, to) => ({ embedding: rowsFeed(this.model.patcherEmbedding(this.ids, from, to), to - from) }),
      results: ({ data, count, stride }, from) => {
        for (let row = 0; row < count; row++)
          if (from + row >= this.entropyList.length)
            this.entropyList.push(entropyOfLogits(data.subarray(row * stride, row * stride + VOCABULARY_SIZE)));
      },
    });
  }

  private async runEncoder(signal?: AbortSignal): Promise<void> {
    await this.advance(this.model.networks.encoder, this.caches.encoder, this.length, this.byteFloors, signal, {
      inputs: (from, to) => ({ embedding: rowsFeed(this.model.embedding.rows(this.ids, from, to), to - from) }),
      results: ({ data, count, stride }, from) => {
        const known = Math.max(0, this.states.length - from);
        this.states.append(data.subarray(known * stride), count - known, stride);
      },
    });
  }

  /** Runs the patches `first` to `end` (closed ones) through pooling and the latent transformer. */
  private async runLatent(first: number, end: number, signal?: AbortSignal): Promise<void> {
    if (end <= first) return;
    const { config, networks } = this.model;
    const { crossAttentionK: k, crossAttentionWindow } = config;
    const count = end - first;
    const firstSeen = Math.max(0, first - crossAttentionWindow.encoder + 1);
    const [from, to] = [this.starts[firstSeen], this.starts[end]];
    const mask = new Float32Array(count * k * (to - from)).fill(HIDDEN_SCORE);
    for (let patch = first; patch < end; patch++)
      for (let vector = 0; vector < k; vector++) {
        const row = ((patch - first) * k + vector) * (to - from);
        const seenFrom = this.starts[Math.max(0, patch - crossAttentionWindow.encoder + 1)];
        mask.fill(0, row + seenFrom - from, row + this.starts[patch + 1] - from);
      }
    const inputs: Feeds = {
      pooled: rowsFeed(this.pool(first, end), count),
      states: rowsFeed(this.states.slice(from, to), to - from),
      patchMask: { data: mask, shape: [count * k, to - from] },
    };
    const floors = this.patchFloors.slice(first, end);
    const rows = await networks.latent.run(this.caches.latent, count, inputs, floors, signal);
    this.cross.append(rows.data, rows.count, rows.stride);
  }

  /** What lies before the latent transformer, for training: states of all ids, and closed patches pooled. */
  encoded(): { states: Float32Array; output: Float32Array; pooled: Float32Array; closedAfter: readonly number[] } {
    return {
      states: this.states.slice(0, this.length).slice(),
      output: this.encoderOutput(0, this.length).slice(),
      pooled: this.pool(0, Math.max(0, this.starts.length - 1)),
      closedAfter: this.closedAfter,
    };
  }

  /** Maximum over each patch's bytes of the first state layer: [M, h]. */
  private pool(first: number, end: number): Float32Array {
    const width = this.model.config.encoder.hiddenSize;
    const stride = this.states.width;
    const pooled = new Float32Array((end - first) * width).fill(Number.NEGATIVE_INFINITY);
    for (let patch = first; patch < end; patch++) {
      const rows = this.states.slice(this.starts[patch], this.starts[patch + 1]);
      const to = (patch - first) * width;
      for (let row = 0; row < rows.length; row += stride)
        for (let channel = 0; channel < width; channel++)
          if (rows[row + channel] > pooled[to + channel]) pooled[to + channel] = rows[row + channel];
    }
    return pooled;
  }

  /** Brings the decoder up to the end of the text; returns the rows from `from` on. */
  private async decode(from: number, signal?: AbortSignal): Promise<Rows> {
    const { config, networks } = this.model;
    const { crossAttentionK: k, crossAttentionWindow } = config;
    const parts: Rows[] = [];
    await this.advance(networks.decoder, this.caches.decoder, this.length, this.byteFloors, signal, {
      wanted: from,
      inputs: (start, end) => {
        const firstSeen = Math.max(0, this.closedAfter[start] - crossAttentionWindow.decoder);
        const patches = this.closedAfter[end - 1] - firstSeen;
        const mask = new Float32Array((end - start) * patches * k).fill(HIDDEN_SCORE);
        for (let i = start; i < end; i++) {
          const row = (i - start) * patches * k;
          const seenFrom = Math.max(0, this.closedAfter[i] - crossAttentionWindow.decoder);
          mask.fill(0, row + (seenFrom - firstSeen) * k, row + (this.closedAfter[i] - firstSeen) * k);
        }
        return {
          states: rowsFeed(this.encoderOutput(start, end), end - start),
          cross: rowsFeed(this.cross.slice(firstSeen, firstSeen + patches), patches),
          patchMask: { data: mask, shape: [end - start, patches * k] },
        };
      },
      results: (rows, start) => {
        const skipped = Math.max(0, Math.min(rows.count, from - start));
        if (skipped < rows.count)
          parts.push({ ...rows, data: rows.data.subarray(skipped * rows.stride), count: rows.count - skipped });
      },
    });
    return joinRows(parts);
  }

  /** The last state layer of bytes `from` to `to`: [N, h]. */
  private encoderOutput(from: number, to: number): Float32Array {
    const width = this.model.config.encoder.hiddenSize;
    const rows = this.states.slice(from, to);
    if (this.states.width === width) return rows;
    const output = new Float32Array((to - from) * width);
    for (let row = 0; row < to - from; row++) {
      const end = (row + 1) * this.states.width;
      output.set(rows.subarray(end - width, end), row * width);
    }
    return output;
  }

  /**
   * Runs a byte network from where its cache stands to `end`, in chunks. Rows before the text's new part are run again
   * only to fill the cache (after a truncation beyond what a windowed cache holds). Of rows before those that are `wanted`, if there are such,
   * a network may compute what those can see of them, and no more.
   */
  private async advance(
    network: CausalNetwork,
    cache: KvCache,
    end: number,
    floors: number[],
    signal: AbortSignal | undefined,
    steps: {
      inputs: (from: number, to: number) => Feeds;
      results: (rows: Rows, from: number) => void;
      wanted?: number;
    },
  ): Promise<void> {
    const { length } = cache;
    // A session computes all of every row.
    const wanted = network.rowNetwork?.runsAll ? (steps.wanted ?? 0) : 0;
    cache.wantFrom(wanted);
    try {
      while (cache.length < end) {
        const from = cache.length;
        const to = end - from <= MOST_BYTES ? end : from + BYTE_CHUNK;
        const seen = floors[to - 1] > 0 ? floors.slice(from, to) : null;
        steps.results(await network.run(cache, to - from, steps.inputs(from, to), seen, signal, wanted), from);
      }
    } catch (error) {
      // Rows of which something was left out are of no use for other ones.
      if (length < wanted && cache.length > length) cache.truncate(length);
      throw error;
    }
    cache.rebuilt();
  }
}

function rowsFeed(data: Float32Array, count: number): { data: Float32Array; shape: number[] } {
  return { data, shape: [count, data.length / count] };
}

function copyColumns({ data, count, stride }: Rows, width: number, into: Float32Array, offset: number): void {
  for (let row = 0; row < count; row++)
    into.set(data.subarray(row * stride, row * stride + width), offset + row * width);
}
