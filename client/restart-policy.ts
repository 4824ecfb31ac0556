/** When a server that ended by itself is started again. */

/** Ends within this time are "in a row", ms. */
const rowMs = 3 * 60_000;
/** The end in a row after which it is given up. */
const lastEnd = 3;

export interface RestartPolicy {
  /** Records an end at `now` (ms); true when the server is to be started again. */
  ended(now: number): boolean;
  /** Forgets the ends so far: the user has started the server. */
  reset(): void;
}

export function createRestartPolicy(): RestartPolicy {
  let ends: number[] = [];
  return {
    ended(now) {
      ends = [...ends.filter((end) => now - end < rowMs), now];
      return ends.length < lastEnd;
    },
    reset() {
      ends = [];
    },
  };
}
