/**
 * A text as words and pieces, which grows and shrinks at its end: where its open word is, and the paths that the latent is asked
 * after (docs/lexicon.md, sections 2 and 5).
 */
import type { LexiconRule } from "./open-word";
import type { Lexicon } from "./pieces";
import { Words } from "./words";

/** What all texts of a model share. */
export interface TextParts {
  lexicon: Lexicon;
  rule: LexiconRule;
  bosPiece: number;
  /** Longest path the latent may be asked after. */
  maxPositions: number;
}

/** Where a text's open word starts, where it was opened, and how many words are before it. */
export interface Place {
  start: number;
  opened: number;
  settledWords: number;
}

export function isAt(one: Place, other: Place): boolean {
  return one.start === other.start && one.opened === other.opened;
}

/** A word, and the pieces of its bytes up to where it was opened. */
export interface CutWord {
  place: Place;
  cut: readonly number[];
}

export class PieceText {
  private words = new Words();
  private settled = new SettledPieces();

  constructor(private readonly parts: TextParts) {}

  /** Number of bytes. */
  get length(): number {
    return this.words.length;
  }

  /** Bytes of memory held. */
  get byteLength(): number {
    return this.words.byteLength + this.settled.byteLength;
  }

  /** The text, as a view that holds until the next append. */
  get bytes(): Uint8Array {
    return this.words.text;
  }

  append(byte: number): void {
    this.words.append(byte);
  }

  /** Forgets the bytes from `length` on. */
  truncate(length: number): void {
    this.words.truncate(length);
    this.settled.truncate(this.words.openIndex);
  }

  fork(): PieceText {
    const copy = new PieceText(this.parts);
    copy.words = this.words.fork();
    copy.settled = this.settled.fork();
    return copy;
  }

  /** Where the pieces of the text begin, as they would be cut if it ended here. */
  get pieceStarts(): number[] {
    const { lexicon } = this.parts;
    const { words } = this;
    const starts: number[] = [];
    for (let word = 0; word < words.wordCount; word++) {
      const start = words.startOf(word);
      const cut = lexicon.cutWord(words.text.subarray(start, words.startOf(word + 1)));
      for (const offset of cut.starts) starts.push(start + offset);
    }
    return starts;
  }

  /** Where the open word of the text is. */
  get openPlace(): Place {
    const { words } = this;
    const { wordLimit } = this.parts.rule;
    const start = words.open;
    const opened = start + Math.floor((words.length - start) / wordLimit) * wordLimit;
    return { start, opened, settledWords: words.openIndex };
  }

  /** The pieces of the text as it is, those of the open word among them. */
  wholePath(): { path: Int32Array; openPieces: number } {
    const { lexicon, bosPiece, maxPositions } = this.parts;
    const settled = this.settledPieces();
    const front = settled.subarray(Math.min(settled.length, this.skipped(settled.length)));
    const open = lexicon.cut(this.words.text.subarray(this.words.open)).pieces;
    return { path: pathOf(bosPiece, front, open).subarray(0, maxPositions), openPieces: open.length };
  }

  /** The path of what is before a word, of the first `own` pieces of its cut, and of `pieces`. */
  pathAfter({ place, cut }: CutWord, own: number, pieces: readonly number[]): Int32Array {
    const settled = this.settledPieces(place.settledWords);
    const skipped = this.skipped(settled.length + cut.length);
    const front = settled.subarray(Math.min(skipped, settled.length));
    const back = [...cut.slice(Math.max(0, skipped - settled.length), own), ...pieces];
    return pathOf(this.parts.bosPiece, front, back);
  }

  /** Pieces that are left out far back when a word is opened after `count`: half a context at a time, so that most of it stays cached. */
  private skipped(count: number): number {
    const over = count - this.room;
    return over <= 0 ? 0 : Math.ceil(over / (this.room >> 1)) * (this.room >> 1);
  }

  /** Pieces that a path may hold when a word is opened. */
  private get room(): number {
    return this.parts.maxPositions - 1 - this.parts.rule.wordLimit;
  }

  /** Pieces of so many words at the beginning, which no later byte can change; default all of these. */
  private settledPieces(words = this.words.openIndex): Int32Array {
    this.settled.follow(this.words, this.parts.lexicon);
    return this.settled.first(words);
  }
}

function pathOf(bosPiece: number, front: Int32Array, back: readonly number[] = []): Int32Array {
  const path = new Int32Array(1 + front.length + back.length);
  path[0] = bosPiece;
  path.set(front, 1);
  path.set(back, 1 + front.length);
  return path;
}

/** Pieces of the words that no later byte can change. */
class SettledPieces {
  private buffer = new Int32Array(256);
  /** Number of pieces up to and with each word. */
  private ends: number[] = [];

  /** Those of the first `words` words. */
  first(words: number): Int32Array {
    return this.buffer.subarray(0, words === 0 ? 0 : this.ends[words - 1]);
  }

  get byteLength(): number {
    return this.buffer.byteLength + 8 * this.ends.length;
  }

  /** Forgets the words from `count` on. */
  truncate(count: number): void {
    this.ends.length = Math.min(this.ends.length, count);
  }

  /** Takes the words that have been settled since. */
  follow(words: Words, lexicon: Lexicon): void {
    for (let word = this.ends.length; word < words.openIndex; word++) {
      const { pieces } = lexicon.cutWord(words.text.subarray(words.startOf(word), words.startOf(word + 1)));
      const before = this.first(word);
      const count = before.length;
      if (count + pieces.length > this.buffer.length) {
        const grown = new Int32Array(2 * (count + pieces.length));
        grown.set(before);
        this.buffer = grown;
      }
      this.buffer.set(pieces, count);
      this.ends.push(count + pieces.length);
    }
  }

  fork(): SettledPieces {
    const copy = new SettledPieces();
    copy.buffer = this.buffer.slice();
    copy.ends = this.ends.slice();
    return copy;
  }
}
