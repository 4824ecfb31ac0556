/**
 * The lexicon: byte strings of a token model's vocabulary, and the cut of a text into them by byte pair merges
 * (docs/lexicon.md, section 3). Shapes: V pieces.
 */
import { Words } from "./words";

/** What a tokenizer file says, in bytes. */
export interface Vocabulary {
  /** [V]; null for special pieces, which have no bytes. */
  pieces: readonly (Uint8Array | null)[];
  /** Left, right and whole piece of each merge, in order of rank. */
  merges: readonly (readonly [number, number, number])[];
}

/** Pieces of some bytes and where each begins. A byte that has no piece belongs to none. */
export interface Cut {
  pieces: number[];
  starts: number[];
}

/** Words up to this many bytes have their cut remembered. */
const REMEMBERED_BYTES = 32;
const REMEMBERED_WORDS = 20_000;

export class Lexicon {
  /** [V] */
  readonly pieces: readonly (Uint8Array | null)[];
  private readonly pieceOfByte = new Int32Array(256).fill(-1);
  /** left * V + right -> rank. */
  private readonly ranks = new Map<number, number>();
  private readonly wholes: Int32Array;
  private readonly known = new Map<string, Cut>();

  constructor({ pieces, merges }: Vocabulary) {
    this.pieces = pieces;
    for (let piece = 0; piece < pieces.length; piece++)
      if (pieces[piece]?.length === 1) this.pieceOfByte[pieces[piece]![0]] = piece;
    this.wholes = Int32Array.from(merges, ([, , whole]) => whole);
    merges.forEach(([left, right], rank) => {
      this.ranks.set(left * pieces.length + right, rank);
    });
  }

  /** The cut of a whole text; the bytes of an incomplete last character are words of their own. */
  cut(text: Uint8Array): Cut {
    const words = new Words(text);
    const cut: Cut = { pieces: [], starts: [] };
    for (let word = 0; word < words.wordCount; word++)
      join(cut, this.cutWord(text.subarray(words.startOf(word), words.startOf(word + 1))), words.startOf(word));
    for (let at = words.completeLength; at < text.length; at++) join(cut, this.cutWord(text.subarray(at, at + 1)), at);
    return cut;
  }

  /** The cut of one word: of all neighbours with a merge, those of the lowest rank first, the leftmost among equals. */
  cutWord(word: Uint8Array): Cut {
    if (word.length > REMEMBERED_BYTES) return this.mergeWord(word);
    const key = String.fromCharCode(...word);
    let cut = this.known.get(key);
    if (cut === undefined) {
      cut = this.mergeWord(word);
      if (this.known.size === REMEMBERED_WORDS) this.known.clear();
      this.known.set(key, cut);
    }
    return cut;
  }

  /** A byte that has no piece breaks the word. */
  private mergeWord(word: Uint8Array): Cut {
    const cut: Cut = { pieces: [], starts: [] };
    for (let from = 0; from < word.length; ) {
      let to = from;
      while (to < word.length && this.pieceOfByte[word[to]] >= 0) to++;
      if (to > from) join(cut, this.mergeRun(word.subarray(from, to)), from);
      from = to + 1;
    }
    return cut;
  }

  /** Merges with a heap of candidates, so that long words cost n log n; outdated candidates are passed over. */
  private mergeRun(run: Uint8Array): Cut {
    const count = run.length;
    const piece = Int32Array.from(run, (byte) => this.pieceOfByte[byte]);
    const next = Int32Array.from(run, (_, i) => i + 1);
    const previous = Int32Array.from(run, (_, i) => i - 1);
    const rankAt = (i: number) =>
      next[i] < count ? this.ranks.get(piece[i] * this.pieces.length + piece[next[i]]) : undefined;
    const heap = new NumberHeap();
    const propose = (i: number) => {
      const rank = rankAt(i);
      // One number that sorts by rank, then by place.
      if (rank !== undefined) heap.push(rank * 2 ** 32 + i);
    };
    for (let i = 0; i + 1 < count; i++) propose(i);
    for (let least = heap.pop(); least !== undefined; least = heap.pop()) {
      const rank = Math.floor(least / 2 ** 32);
      const i = least - rank * 2 ** 32;
      if (piece[i] < 0 || rankAt(i) !== rank) continue;
      const right = next[i];
      piece[i] = this.wholes[rank];
      piece[right] = -1;
      next[i] = next[right];
      if (next[i] < count) previous[next[i]] = i;
      propose(i);
      if (previous[i] >= 0) propose(previous[i]);
    }
    const cut: Cut = { pieces: [], starts: [] };
    for (let i = 0; i < count; i = next[i]) {
      cut.pieces.push(piece[i]);
      cut.starts.push(i);
    }
    return cut;
  }
}

function join(into: Cut, { pieces, starts }: Cut, offset: number): void {
  for (let i = 0; i < pieces.length; i++) {
    into.pieces.push(pieces[i]);
    into.starts.push(offset + starts[i]);
  }
}

/** A binary heap, the least number first. */
class NumberHeap {
  private readonly items: number[] = [];

  push(item: number): void {
    const { items } = this;
    let at = items.length;
    for (let parent = (at - 1) >> 1; at > 0 && items[parent] > item; parent = (at - 1) >> 1) {
      items[at] = items[parent];
      at = parent;
    }
    items[at] = item;
  }

  pop(): number | undefined {
    const { items } = this;
    const least = items[0];
    const item = items.pop();
    if (items.length === 0 || item === undefined) return least;
    let at = 0;
    for (let child = 1; child < items.length; child = 2 * at + 1) {
      if (child + 1 < items.length && items[child + 1] < items[child]) child++;
      if (items[child] >= item) break;
      items[at] = items[child];
      at = child;
    }
    items[at] = item;
    return least;
  }
}
