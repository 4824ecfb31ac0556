/** Small samples: median and range. */

export interface Spread {
  median: number;
  min: number;
  max: number;
}

/** Of one value at least. */
export function spread(values: number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const median = (sorted[Math.ceil(middle) - 1] + sorted[Math.floor(middle)]) / 2;
  return { median, min: sorted[0], max: sorted[sorted.length - 1] };
}

/** Of the quotients round by round: what slows the machine for a while slows both sides of a pair. */
export function ratioSpread(ours: number[], theirs: number[]): Spread {
  return spread(ours.map((value, round) => value / theirs[round]));
}
