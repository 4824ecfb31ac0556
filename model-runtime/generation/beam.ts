/**
 * Beam search: keeps the `width` most probable beginnings, extends each by every id, keeps the best again.
 *
 * A row is [V] log-probabilities in nats of the next id, V = 260.
 */

import { UserError } from "../errors";
import { EOS } from "../ids";
import { neverGenerated } from "./sampling";

/**
 * What the search asks of a model. S is a place in a text; the search owns every state that it is given and releases
 * each exactly once, whatever happens.
 */
export interface BeamModel<S> {
  /** The text to be continued. */
  start(): Promise<BeamStep<S>>;
  /** One id after `state`, which stays valid. */
  advance(state: S, id: number): Promise<BeamStep<S>>;
  release(state: S): void;
}

export interface BeamStep<S> {
  state: S;
  /** [V] */
  logProbs: ArrayLike<number>;
}

export interface BeamOptions {
  /** Hypotheses kept at each step, and the most that are returned. */
  width: number;
  /** Longest continuation. */
  maxBytes: number;
  /** A hypothesis' score is its log-probability / length ** lengthPenalty: 0 favours short ones, 1 is the mean of an id. */
  lengthPenalty: number;
  /** Ids that may not be generated; default `neverGenerated`. */
  maskedIds?: readonly number[];
  /** Whether a hypothesis is complete with its last id, as with EOS: at a newline, after a stop string. */
  endsWith?: (ids: readonly number[]) => boolean;
  signal?: AbortSignal;
}

export interface Hypothesis {
  /** Ids after the given text; the last is EOS when `ended` is `eos`. */
  ids: number[];
  /** Sum of the ids' log-probabilities, nats. */
  logProb: number;
  /** See `lengthPenalty`; the length is the number of ids, EOS counted. */
  score: number;
  ended: "eos" | "stop" | "length";
}

/**
 * The best continuations by falling score, at most `width`. EOS ends one, so does `endsWith`, and so do `maxBytes` ids.
 * With a width of at least the number of beginnings alive this is exhaustive search. Ends early when no beginning can
 * reach the worst of `width` complete hypotheses. Rejects with the signal's reason when it is aborted, before the
 * model is asked again.
 */
export async function beamSearch<S>(model: BeamModel<S>, options: BeamOptions): Promise<Hypothesis[]> {
  checkOptions(options);
  const { width, maxBytes, lengthPenalty, endsWith, signal } = options;
  const masked = new Set(options.maskedIds ?? neverGenerated);
  const owned = new Set<S>();
  const own = (step: BeamStep<S>): BeamStep<S> => {
    owned.add(step.state);
    return step;
  };
  const disown = (state: S): void => {
    if (owned.delete(state)) model.release(state);
  };
  let complete: Hypothesis[] = [];
  const finish = (ids: number[], logProb: number, ended: Hypothesis["ended"]): void => {
    complete.push({ ids, logProb, ended, score: score(logProb, ids.length, lengthPenalty) });
  };

  try {
    signal?.throwIfAborted();
    let live: Beam<S>[] = [{ ids: [], logProb: 0, ...own(await model.start()) }];
    if (maxBytes === 0) finish([], 0, "length");
    for (let length = 1; length <= maxBytes && live.length > 0; length++) {
      const extensions = candidates(live, masked);
      for (const { parent, id, logProb } of extensions) if (id === EOS) finish([...parent.ids, id], logProb, "eos");
      // Sorting is stable: on ties the better beam and the lower id come first.
      const best = extensions
        .filter(({ id }) => id !== EOS)
        .sort((a, b) => b.logProb - a.logProb)
        .slice(0, width);
      const growing: Candidate<S>[] = [];
      for (const candidate of best) {
        const ids = [...candidate.parent.ids, candidate.id];
        if (endsWith?.(ids)) finish(ids, candidate.logProb, "stop");
        else if (length === maxBytes) finish(ids, candidate.logProb, "length");
        else growing.push(candidate);
      }
      complete = complete.sort(byScore).slice(0, width);
      const worst = complete.length < width ? Number.NEGATIVE_INFINITY : complete[width - 1].score;
      const hopeful = growing.filter(({ logProb }) => bestScore(logProb, length, options) > worst);
      live = await extend(live, hopeful);
    }
    return complete.sort(byScore);
  } finally {
    for (const state of [...owned]) disown(state);
  }

  /** Beam by beam, so that a parent is let go as soon as it has its last child. */
  async function extend(parents: Beam<S>[], children: Candidate<S>[]): Promise<Beam<S>[]> {
    const beams = new Map<Candidate<S>, Beam<S>>();
    for (const parent of parents) {
      for (const child of children.filter((candidate) => candidate.parent === parent)) {
        signal?.throwIfAborted();
        const step = own(await model.advance(parent.state, child.id));
        beams.set(child, { ids: [...parent.ids, child.id], logProb: child.logProb, ...step });
      }
      disown(parent.state);
    }
    return children.map((child) => beams.get(child)!);
  }
}

/** A beginning that is alive. */
interface Beam<S> extends BeamStep<S> {
  ids: number[];
  logProb: number;
}

/** One id more; the parent's `logProb` included. */
interface Candidate<S> {
  parent: Beam<S>;
  id: number;
  logProb: number;
}

/** All possible extensions, beam by beam and id by id. */
function candidates<S>(live: Beam<S>[], masked: Set<number>): Candidate<S>[] {
  const all: Candidate<S>[] = [];
  for (const parent of live) {
    for (let id = 0; id < parent.logProbs.length; id++) {
      const logProb = parent.logProb + parent.logProbs[id];
      if (!masked.has(id) && logProb > Number.NEGATIVE_INFINITY) all.push({ parent, id, logProb });
    }
  }
  return all;
}

function score(logProb: number, length: number, lengthPenalty: number): number {
  return length === 0 ? logProb : logProb / length ** lengthPenalty;
}

/** What a beginning of `length` ids can still score: it loses no more probability and picks its length. */
function bestScore(logProb: number, length: number, { maxBytes, lengthPenalty }: BeamOptions): number {
  return Math.max(score(logProb, length + 1, lengthPenalty), score(logProb, maxBytes, lengthPenalty));
}

const byScore = (a: Hypothesis, b: Hypothesis): number => b.score - a.score;

function checkOptions({ width, maxBytes, lengthPenalty }: BeamOptions): void {
  if (!(Number.isInteger(width) && width >= 1)) {
    throw new UserError(`The beam width must be a whole number of at least 1, not ${width}.`);
  }
  if (!(Number.isInteger(maxBytes) && maxBytes >= 0)) {
    throw new UserError(`The number of bytes to generate must be a whole number of at least 0, not ${maxBytes}.`);
  }
  if (!Number.isFinite(lengthPenalty)) {
    throw new UserError(`The length penalty must be a number (0 is none), not ${lengthPenalty}.`);
  }
}
