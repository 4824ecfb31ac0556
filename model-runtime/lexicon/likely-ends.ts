/**
 * Which pieces the latent is likely to be asked after inside a word whose bytes are known and whose readings are not: a draft's
 * words, before anything has been run (docs/lexicon.md, section 6).
 */
import type { SortedPieces } from "./sorted-pieces";

/** Pieces from the word's start on, and where they end. */
export interface LikelyEnd {
  pieces: readonly number[];
  end: number;
  /** Of all mass that fits the bytes up to there, as the byte model has it. */
  share: number;
}

/**
 * Where pieces that fit the word's bytes have probably ended: where the byte model expects a byte with which no longer piece
 * goes on. That is what would make the latent's mass lie on the ended piece, and the latent be asked after it.
 * @param byteModelAt [257], probabilities of the symbol after so many of the word's bytes, 1 to all
 * @param least smallest share that counts
 */
export function likelyEnds(
  table: SortedPieces,
  word: Uint8Array,
  byteModelAt: (length: number) => ArrayLike<number>,
  least: number,
): LikelyEnd[] {
  const found: LikelyEnd[] = [];
  const visit = (start: number, pieces: readonly number[], share: number) => {
    let range = table.all();
    for (let at = start; at < word.length && range.low < range.high; at++) {
      range = table.narrow(range, word[at]);
      const place = table.equal(range);
      if (place < 0) continue;
      const next = byteModelAt(at + 1);
      let ends = 1;
      for (const byte of table.nextBytes(range)) ends -= next[byte];
      // The last of several blanks belongs to what follows them, so that a piece of blanks also ends one before it.
      if (isBlank(word[at]) && at + 1 < word.length) {
        const after = byteModelAt(at + 2);
        ends += next[word[at + 1]] * (1 - BLANKS.reduce((sum, blank) => sum + after[blank], 0));
      }
      if (share * ends < least) continue;
      const end = { pieces: [...pieces, table.order[place]], end: at + 1, share: share * ends };
      found.push(end);
      visit(end.end, end.pieces, end.share);
    }
  };
  visit(0, [], 1);
  return found;
}

const BLANKS = [9, 10, 13, 32];

function isBlank(byte: number): boolean {
  return BLANKS.includes(byte);
}
