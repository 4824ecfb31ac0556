/** Times of short runs of a latent transformer, layers and readout together: what drafts cost differs between machines and kernels. */
import type { RunShares } from "../lexicon/latent";

/** Runs of several positions after which their times are believed. */
const BELIEVED_RUNS = 12;
/** How much a run of the past counts against the newest one. */
const MEMORY = 0.97;
/** The least that a position is taken to cost: a line through a few times may fall. */
const LEAST_POSITION = 0.02;

export class RunTimes {
  /** Milliseconds of a run of one position. */
  private one: number | null = null;
  /** Of runs of several positions: their number, and sums of positions, of times as shares of `one`, and of products. */
  private sums = { runs: 0, n: 0, share: 0, nn: 0, nShare: 0 };

  /** By a straight line through the times of several positions; null until there are enough of different lengths. */
  get shares(): RunShares | null {
    const { runs, n, share, nn, nShare } = this.sums;
    const spread = nn - (n * n) / runs;
    if (runs < BELIEVED_RUNS || spread < runs) return null;
    const position = Math.max(LEAST_POSITION, (nShare - (n * share) / runs) / spread);
    return { run: Math.max(0, (share - position * n) / runs + position - 1), position };
  }

  /** A run of so many positions took `ms`. */
  learn(positions: number, ms: number): void {
    if (positions === 1) this.one = this.one === null ? ms : this.one + 0.1 * (ms - this.one);
    if (positions < 2 || this.one === null) return;
    const share = ms / this.one;
    const { sums } = this;
    sums.runs = MEMORY * sums.runs + 1;
    sums.n = MEMORY * sums.n + positions;
    sums.share = MEMORY * sums.share + share;
    sums.nn = MEMORY * sums.nn + positions * positions;
    sums.nShare = MEMORY * sums.nShare + positions * share;
  }
}
