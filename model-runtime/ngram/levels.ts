/**
 * Places with a common context, sorted into *levels*: level i holds the places that share at least LEVEL_LENGTHS[i] bytes,
 * so a higher level's places are among a lower one's. Where two levels hold the same places only the higher one counts.
 */
import { type Candidates, SYMBOLS } from "./chains";

export const LEVEL_LENGTHS = [4, 5, 6, 7, 9, 12, 16, 22, 32] as const;
export const LEVELS = LEVEL_LENGTHS.length;

const LEVEL_OF = Uint8Array.from({ length: 33 }, (_, length) => {
  let level = 0;
  while (level + 1 < LEVELS && LEVEL_LENGTHS[level + 1] <= length) level++;
  return level;
});

export class Levels {
  /** Levels that count, the highest first. */
  count = 0;
  readonly level = new Uint8Array(LEVELS);
  /** Places of each. */
  readonly places = new Uint16Array(LEVELS);
  /** The symbol that stands at most of them; of several the one met first at the highest level. */
  readonly best = new Uint16Array(LEVELS);
  /** At how many of them it stands. */
  readonly bestCounts = new Uint16Array(LEVELS);
  /** Symbols and how many places each has: those of entry i lie from `start[i]` to `start[i + 1]`. */
  readonly start = new Uint16Array(LEVELS + 1);
  readonly symbols: Uint16Array;
  readonly counts: Uint16Array;
  /** Bytes that the best place shares; 0 when there is none. */
  longest = 0;
  /** Position of the best place among the candidates, the first of several. */
  longestAt = -1;

  private readonly sums = new Uint16Array(SYMBOLS);
  private readonly seen: Uint16Array;
  private readonly order: Uint16Array;
  private readonly sizes = new Uint16Array(LEVELS);

  constructor(mostPlaces: number) {
    this.symbols = new Uint16Array(LEVELS * mostPlaces);
    this.counts = new Uint16Array(LEVELS * mostPlaces);
    this.seen = new Uint16Array(mostPlaces);
    this.order = new Uint16Array(mostPlaces);
  }

  build({ count, lengths, symbols }: Candidates): void {
    const { sizes, order, sums, seen } = this;
    this.count = this.longest = this.start[0] = 0;
    this.longestAt = -1;
    sizes.fill(0);
    for (let i = 0; i < count; i++) {
      sizes[LEVEL_OF[lengths[i]]]++;
      if (lengths[i] > this.longest) {
        this.longest = lengths[i];
        this.longestAt = i;
      }
    }
    // A counting sort, the highest level first, each in the order of the list.
    let at = 0;
    for (let level = LEVELS - 1; level >= 0; level--) {
      const size = sizes[level];
      sizes[level] = at;
      at += size;
    }
    for (let i = 0; i < count; i++) order[sizes[LEVEL_OF[lengths[i]]]++] = i;
    let distinct = 0;
    let best = 0;
    let read = 0;
    for (let level = LEVELS - 1; level >= 0; level--) {
      if (sizes[level] === read) continue;
      for (; read < sizes[level]; read++) {
        const symbol = symbols[order[read]];
        if (sums[symbol]++ === 0) seen[distinct++] = symbol;
      }
      for (let i = 0; i < distinct; i++) if (sums[seen[i]] > sums[best]) best = seen[i];
      this.write(level, read, best, distinct);
    }
    for (let i = 0; i < distinct; i++) sums[seen[i]] = 0;
  }

  private write(level: number, places: number, best: number, distinct: number): void {
    const entry = this.count++;
    this.level[entry] = level;
    this.places[entry] = places;
    this.best[entry] = best;
    this.bestCounts[entry] = this.sums[best];
    let at = this.start[entry];
    for (let i = 0; i < distinct; i++) {
      this.symbols[at] = this.seen[i];
      this.counts[at++] = this.sums[this.seen[i]];
    }
    this.start[entry + 1] = at;
  }
}
