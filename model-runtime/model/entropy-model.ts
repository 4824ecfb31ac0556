/**
 * The entropy model by itself: entropies along a text of any length, a chunk at a time, without the other three
 * networks. What it gives equals `BltSequence.entropies`; memory is bounded where attention has a window.
 */
import type { Weights } from "../checkpoint/checkpoint";
import type { BltConfig, PatchingConfig } from "../checkpoint/config";
import { readWeight } from "../checkpoint/tensor-data";
import { UserError } from "../errors";
import { EOS, VOCABULARY_SIZE } from "../ids";
import { resetsContext } from "../patching/patcher-rule";
import { CausalNetwork } from "./causal-network";
import { entropyOfLogits } from "./entropy";
import { fastestInt8Kernel } from "./int8-kernel";
import type { LoadOptions } from "./load-options";
import { patcherGraph } from "./networks";

export interface Patcher {
  /**
   * How many ids before an id can make a difference to the entropy after it: layers x (window - 1); Infinity without a
   * window. Positions count relative to each other only, so a stream that begins so far before an id, wherever that is
   * in the text, gives the same entropy as one that begins at BOS.
   */
  readonly receptiveField: number;
  /** The beginning of a text or a place in it; `patching` says where the model's context begins anew. */
  begin(patching: PatchingConfig): EntropyStream;
  release(): Promise<void>;
}

export interface EntropyStream {
  /** Number of ids read. */
  readonly length: number;
  /** Bytes of memory held. */
  readonly byteLength: number;
  /**
   * Reads the next N ids of the text, BOS first.
   * @returns [N] nats: entropy of the next-byte distribution after each id
   * @throws the signal's reason when it is aborted, before the next run; the stream is then of no more use
   */
  next(ids: ArrayLike<number>, signal?: AbortSignal): Promise<Float32Array>;
  /** The same, but the distributions themselves: [N, 260] logits of the byte after each id. */
  nextLogits(ids: ArrayLike<number>, signal?: AbortSignal): Promise<Float32Array>;
  /** [260] logits of the byte that follows the last id read by `next`; empty before the first. */
  readonly logits: Float32Array;
  /** Takes the last ids back; false when that is no longer possible, and the stream is then of no more use. */
  takeBack(count: number): boolean;
  /** An independent copy. */
  fork(): EntropyStream;
}

/** Ids of one run: attention over a window costs window + chunk a row, so small chunks are fastest. */
const CHUNK = 128;

/** What the entropy model needs of a checkpoint; one with a lexicon has neither `quantization` nor `semantics`. */
export interface PatcherSource extends Weights {
  config: Pick<BltConfig, "patcher"> & Partial<Pick<BltConfig, "quantization" | "semantics">>;
}

/** Loads the entropy model of a checkpoint of either kind; a `UserError` when it has none. */
export async function loadPatcher(checkpoint: PatcherSource, options: LoadOptions): Promise<Patcher> {
  const { config, directory } = checkpoint;
  if (config.patcher === null) {
    throw new UserError(
      `${directory} holds no entropy model, so entropy patching is not possible; choose another --mode or give the entropy model's folder with --entropy-model.`,
    );
  }
  const { semantics = "meta", quantization = null } = config;
  const int8Kernel = quantization === null ? "float32" : (options.int8Kernel ?? (await fastestInt8Kernel(options)));
  const network = await CausalNetwork.load(() => patcherGraph({ checkpoint, int8Kernel }), config.patcher, options);
  const table = readWeight(checkpoint, "model.patcher.embed_tokens.weight");
  return patcherOf(network, table, { separatesDocuments: semantics === "meta" });
}

/**
 * The patcher of a network that is loaded already; releasing it releases the network.
 *
 * @param network as `patcherGraph` makes it
 * @param table rows of the embedding of all ids
 */
export function patcherOf(
  network: CausalNetwork,
  table: Float32Array,
  { separatesDocuments }: { separatesDocuments: boolean },
): Patcher {
  const { layers, window } = network.config;
  return {
    receptiveField: window === null ? Number.POSITIVE_INFINITY : layers * (window - 1),
    begin: (patching) =>
      new CachedStream(network, table, (id) => (separatesDocuments && id === EOS) || resetsContext(patching, id)),
    release: () => network.release(),
  };
}

export interface EntropyOptions {
  patching: PatchingConfig;
  signal?: AbortSignal;
  /** Called with the number of ids read so far, and in all. */
  onProgress?: (done: number, total: number) => void;
}

/** Entropies of a whole text in nats, one after each of its ids. */
export async function entropiesOf(
  patcher: Omit<Patcher, "release">,
  ids: Uint16Array,
  { patching, signal, onProgress }: EntropyOptions,
): Promise<Float32Array> {
  const stream = patcher.begin(patching);
  const entropies = new Float32Array(ids.length);
  for (let from = 0; from < ids.length; from += CHUNK) {
    const chunk = ids.subarray(from, from + CHUNK);
    entropies.set(await stream.next(chunk, signal), from);
    onProgress?.(from + chunk.length, ids.length);
  }
  return entropies;
}

class CachedStream implements EntropyStream {
  logits = new Float32Array(0);
  /** First position the next id sees. */
  private floor = 0;

  /** @param endsContext whether the positions after an id see nothing up to it */
  constructor(
    private readonly network: CausalNetwork,
    private readonly table: Float32Array,
    private readonly endsContext: (id: number) => boolean,
    private readonly cache = network.createCache(),
  ) {}

  get length(): number {
    return this.cache.length;
  }

  get byteLength(): number {
    return this.cache.byteLength;
  }

  async next(ids: ArrayLike<number>, signal?: AbortSignal): Promise<Float32Array> {
    const entropies = new Float32Array(ids.length);
    await this.run(ids, signal, (row, at) => {
      entropies[at] = entropyOfLogits(row);
    });
    return entropies;
  }

  async nextLogits(ids: ArrayLike<number>, signal?: AbortSignal): Promise<Float32Array> {
    const logits = new Float32Array(ids.length * VOCABULARY_SIZE);
    await this.run(ids, signal, (row, at) => logits.set(row, at * VOCABULARY_SIZE));
    return logits;
  }

  /** Reads ids; `take` is given the logits after each and its index, for as long as the call takes. */
  private async run(
    ids: ArrayLike<number>,
    signal: AbortSignal | undefined,
    take: (row: Float32Array, at: number) => void,
  ): Promise<void> {
    const { cache, table } = this;
    const width = table.length / VOCABULARY_SIZE;
    for (let from = 0; from < ids.length; from += CHUNK) {
      const count = Math.min(CHUNK, ids.length - from);
      const embedding = new Float32Array(count * width);
      const floors = new Array<number>(count);
      const begin = cache.length;
      for (let row = 0; row < count; row++) {
        const id = ids[from + row];
        embedding.set(table.subarray(id * width, (id + 1) * width), row * width);
        floors[row] = this.floor;
        if (this.endsContext(id)) this.floor = begin + row + 1;
      }
      const inputs = { embedding: { data: embedding, shape: [count, width] } };
      const { data, stride } = await this.network.run(cache, count, inputs, floors, signal);
      for (let row = 0; row < count; row++) {
        take(data.subarray(row * stride, row * stride + VOCABULARY_SIZE), from + row);
      }
      this.logits = data.slice((count - 1) * stride, (count - 1) * stride + VOCABULARY_SIZE);
    }
  }

  takeBack(count: number): boolean {
    const length = this.cache.length - count;
    // Which context the ids before the last reset belonged to is not remembered.
    return length >= Math.max(0, this.floor) && this.cache.truncate(length) === length;
  }

  fork(): EntropyStream {
    const copy = new CachedStream(this.network, this.table, this.endsContext, this.cache.fork());
    copy.floor = this.floor;
    return copy;
  }
}
