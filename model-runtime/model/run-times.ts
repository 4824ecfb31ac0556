/** Times of short runs of a latent transformer, layers and readout together: what drafts cost differs between machines and kernels. */
import type { RunShares } from "../lexicon/latent";

/** What is believed before runs were timed counts as much as so many runs of each of these lengths. */
const BELIEF_RUNS = 8;
const BELIEF_POSITIONS = [2, 6];
/** How much a run of the past counts against the newest one. */
const MEMORY = 0.97;
/** A run that took longer than so many times what it was expected to was stopped, by a collection of garbage or another program: it counts as so long. */
const LONGEST = 1.5;
/** The least that a position is taken to cost: a line through a few times may fall. */
const LEAST_POSITION = 0.02;

export class RunTimes {
  /** Milliseconds of a run of one position. */
  private one: number | null = null;
  private sums: Sums = { runs: 0, n: 0, share: 0, nn: 0, nShare: 0 };

  /** @param believed before anything was timed: few runs of a few lengths say little, as a machine now does more and now less */
  constructor(private readonly believed: RunShares) {}

  /** By a straight line through the times of several positions. */
  get shares(): RunShares {
    const { runs, n, share, nn, nShare } = BELIEF_POSITIONS.reduce(
      (sums, positions) => withRun(sums, positions, shareOf(this.believed, positions), BELIEF_RUNS),
      this.sums,
    );
    const position = Math.max(LEAST_POSITION, (nShare - (n * share) / runs) / (nn - (n * n) / runs));
    return { run: Math.max(0, (share - position * n) / runs + position - 1), position };
  }

  /** A run of so many positions took `ms`. */
  learn(positions: number, ms: number): void {
    if (positions === 1)
      this.one = this.one === null ? ms : this.one + 0.1 * (Math.min(ms, LONGEST * this.one) - this.one);
    if (positions < 2 || this.one === null) return;
    const share = Math.min(ms / this.one, LONGEST * shareOf(this.shares, positions));
    this.sums = withRun(this.sums, positions, share, 1, MEMORY);
  }
}

/** What a run of so many positions takes, as a share of a single one. */
function shareOf({ run, position }: RunShares, positions: number): number {
  return 1 + run + position * (positions - 1);
}

/** Sums over runs of several positions: their number, positions, times as shares of a single one, and products. */
interface Sums {
  runs: number;
  n: number;
  share: number;
  nn: number;
  nShare: number;
}

/** With so many runs more; those before count `kept` of what they did. */
function withRun(sums: Sums, positions: number, share: number, count: number, kept = 1): Sums {
  return {
    runs: kept * sums.runs + count,
    n: kept * sums.n + count * positions,
    share: kept * sums.share + count * share,
    nn: kept * sums.nn + count * positions * positions,
    nShare: kept * sums.nShare + count * positions * share,
  };
}
