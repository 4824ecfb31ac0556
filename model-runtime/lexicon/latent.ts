/** What is asked of the latent transformer, whoever answers (`model/piece-paths.ts`). Shapes: S sorted pieces. */

export interface PieceLatent {
  /**
   * Mass of the piece after this path, [S + 1] in sorted order, EOS last; the array is not changed afterwards. What is
   * asked before the first answer comes is answered together.
   */
  ask(path: Int32Array, signal?: AbortSignal): Promise<ArrayLike<number>>;
  /**
   * The next questions, and those that follow them, are likely to be about beginnings of this path, and perhaps about the
   * `others`. Results do not depend on it.
   */
  expect(path: Int32Array | null, others?: readonly Int32Array[]): void;
  /** Whether a path's answer is at hand. */
  knows?(path: Int32Array): boolean;
  /**
   * Proposes what follows a path, for far less than asking; null where nothing can be foreseen.
   * @param choose picks the piece to go on with, or ends with null
   */
  readonly foresee?: (
    path: Int32Array,
    choose: (proposals: readonly Proposal[]) => number | null,
    signal?: AbortSignal,
  ) => Promise<void> | null;
  /** What runs of several positions cost. */
  readonly costs?: RunShares;
  /** Another value once answers are another model's. */
  readonly version?: unknown;
}

/** As shares of a run of one position: what a run of several takes besides, and each further position. */
export interface RunShares {
  run: number;
  position: number;
}

/** On an ordinary processor. */
export const usualShares: RunShares = { run: 0.1, position: 0.17 };

/** A piece that may come next, and its chance. */
export interface Proposal {
  piece: number;
  chance: number;
}
