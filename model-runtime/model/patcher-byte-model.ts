/** The patcher as the lexicon's byte model: its next-byte distributions along a text that changes at its end. */
import { BOS, BYTE_OFFSET, EOS, VOCABULARY_SIZE } from "../ids";
import type { ByteModel } from "../lexicon/byte-model";
import { EOS_SYMBOL, SYMBOLS } from "../lexicon/open-word";
import type { CausalNetwork } from "./causal-network";

/** Bytes of one run: attention over a window costs window + chunk a row, so small chunks are fastest. */
const CHUNK = 128;
/** Distributions that are kept, so that going back a little costs no run. */
const KEPT_ROWS = 128;

/**
 * @param network as `patcherGraph` makes it
 * @param table rows of the embedding of all ids
 */
export function patcherByteModel(network: CausalNetwork, table: Float32Array): ByteModel {
  return new PatcherByteModel(network, table);
}

class PatcherByteModel implements ByteModel {
  /** Distribution after the first `firstRow`, `firstRow + 1`, ... bytes. */
  private rows: Float64Array[] = [];
  private firstRow = 0;
  /** The text that has been read, and how much of it is known to be the text as it is: a byte taken back often comes again. */
  private read: Uint8Array = new Uint8Array(0);
  private certain = 0;

  constructor(
    private readonly network: CausalNetwork,
    private readonly table: Float32Array,
    /** The row after n bytes is the one at position n, BOS being at 0. */
    private readonly cache = network.createCache(),
  ) {}

  async after(
    text: Uint8Array,
    from: number,
    to: number,
    signal?: AbortSignal,
    ahead?: () => Uint8Array,
  ): Promise<Float64Array[]> {
    this.forgetOtherThan(text.subarray(0, to));
    const isKnown = this.cache.length > to && from >= this.firstRow;
    const more = isKnown ? null : (ahead?.() ?? null);
    const end = to + (more?.length ?? 0);
    if (this.read.length < end) this.read = joined(text.subarray(0, to), more);
    this.certain = Math.max(this.certain, to);
    const known = this.firstRow + this.rows.length;
    if (from < this.firstRow || from > known) {
      this.rows = [];
      this.firstRow = from;
      if (this.cache.length > from) this.cache.truncate(from);
      else this.cache.skipTo(from);
    }
    while (this.cache.length <= end) {
      const first = this.cache.length;
      const count = Math.min(CHUNK, end + 1 - first);
      const inputs = this.inputs(first, count);
      const { data, stride } = await this.network.run(this.cache, count, inputs, null, signal);
      for (let row = 0; row < count; row++)
        if (first + row === this.firstRow + this.rows.length)
          this.rows.push(symbolsOf(data.subarray(row * stride, row * stride + VOCABULARY_SIZE)));
    }
    this.cache.rebuilt();
    const found = this.rows.slice(from - this.firstRow, to + 1 - this.firstRow);
    const spare = this.rows.length - KEPT_ROWS;
    if (spare > 0) {
      this.rows.splice(0, spare);
      this.firstRow += spare;
    }
    return found;
  }

  truncate(length: number): void {
    this.certain = Math.min(this.certain, length);
  }

  /** Forgets what follows the first byte that is another one than in `text`. */
  private forgetOtherThan(text: Uint8Array): void {
    const most = Math.min(this.read.length, text.length);
    while (this.certain < most && this.read[this.certain] === text[this.certain]) this.certain++;
    if (this.certain >= most) return;
    this.read = this.read.subarray(0, this.certain);
    this.rows.length = Math.max(0, Math.min(this.rows.length, this.certain + 1 - this.firstRow));
    if (this.cache.length > this.certain + 1) this.cache.truncate(this.certain + 1);
  }

  fork(): ByteModel {
    const copy = new PatcherByteModel(this.network, this.table, this.cache.fork());
    copy.rows = this.rows.slice();
    copy.firstRow = this.firstRow;
    copy.read = this.read;
    copy.certain = this.certain;
    return copy;
  }

  /** Embeddings of BOS and of what has been read, from position `first` on. */
  private inputs(first: number, count: number) {
    const width = this.table.length / VOCABULARY_SIZE;
    const embedding = new Float32Array(count * width);
    for (let row = 0; row < count; row++) {
      const id = first + row === 0 ? BOS : this.read[first + row - 1] + BYTE_OFFSET;
      embedding.set(this.table.subarray(id * width, (id + 1) * width), row * width);
    }
    return { embedding: { data: embedding, shape: [count, width] } };
  }
}

function joined(text: Uint8Array, more: Uint8Array | null): Uint8Array {
  const all = new Uint8Array(text.length + (more?.length ?? 0));
  all.set(text);
  if (more !== null) all.set(more, text.length);
  return all;
}

/** Logits of ids [260] -> probabilities of bytes and EOS [257]; ids that are no text are left out. */
function symbolsOf(logits: Float32Array): Float64Array {
  const symbols = new Float64Array(SYMBOLS);
  for (let byte = 0; byte < EOS_SYMBOL; byte++) symbols[byte] = logits[BYTE_OFFSET + byte];
  symbols[EOS_SYMBOL] = logits[EOS];
  let max = symbols[0];
  for (let symbol = 1; symbol < SYMBOLS; symbol++) if (symbols[symbol] > max) max = symbols[symbol];
  let sum = 0;
  for (let symbol = 0; symbol < SYMBOLS; symbol++) sum += symbols[symbol] = Math.exp(symbols[symbol] - max);
  for (let symbol = 0; symbol < SYMBOLS; symbol++) symbols[symbol] /= sum;
  return symbols;
}
