/** Finds the threshold that gives patches of a wanted mean length on given documents. */

import type { PatchingConfig } from "../checkpoint/config";
import { UserError } from "../errors";
import { meanPatchLength, patchStarts } from "./patch-lengths";
import { resetsContext, usesEntropy } from "./patcher-rule";

/** n ids of a document, BOS first, and their entropies in nats. */
export interface EntropyDocument {
  ids: ArrayLike<number>;
  entropies: ArrayLike<number>;
}

export interface Calibration {
  /** Nats; a float32 number that lies between two values of the data, not on one. */
  threshold: number;
  /** Ids a patch, BOS left out, that the threshold gives on the documents. */
  meanPatchLength: number;
}

/**
 * The `threshold` with which `config` comes closest to `wanted` ids a patch over all documents; every other setting
 * (monotonic, thresholdAdd, newline reset, longest and shortest patch) stays and counts.
 *
 * Only thresholds between two neighbouring values of what the rule compares can differ, so these are searched, by
 * bisection with the true rule: the mean length rises with the threshold (with `minPatchLength` only nearly; the search
 * then still ends where the length crosses the wanted one).
 *
 * UserError when the mode has no threshold, or when no threshold gives the wanted length.
 */
export function calibrateThreshold(
  documents: readonly EntropyDocument[],
  config: PatchingConfig,
  wanted: number,
): Calibration {
  if (!usesEntropy(config)) {
    throw new UserError(`Patching mode "${config.mode}" has no threshold to calibrate; use mode "entropy".`);
  }
  const candidates = candidateThresholds(comparedValues(documents, config));
  if (candidates.length === 0) {
    throw new UserError(
      "The files are too short to calibrate a threshold on; give at least a few hundred bytes of text.",
    );
  }
  const at = (index: number): Calibration => calibration(documents, config, candidates[index]);

  let low = at(0);
  let high = at(candidates.length - 1);
  if (!(wanted >= low.meanPatchLength && wanted <= high.meanPatchLength)) throw unreachable(wanted, low, high);
  for (let from = 0, to = candidates.length - 1; to - from > 1; ) {
    const middle = (from + to) >> 1;
    const tried = at(middle);
    if (tried.meanPatchLength <= wanted) [from, low] = [middle, tried];
    else [to, high] = [middle, tried];
  }
  return wanted - low.meanPatchLength <= high.meanPatchLength - wanted ? low : high;
}

function calibration(documents: readonly EntropyDocument[], config: PatchingConfig, threshold: number): Calibration {
  const tried = { ...config, threshold };
  const cuts = documents.map(({ ids, entropies }) => ({ cut: patchStarts(ids, entropies, tried), n: ids.length }));
  return { threshold, meanPatchLength: meanPatchLength(cuts) };
}

/** What the rule compares with its threshold, each value once, ascending: entropies or their rises. */
function comparedValues(documents: readonly EntropyDocument[], config: PatchingConfig): Float32Array {
  const values: number[] = [];
  for (const { ids, entropies } of documents) {
    // H[0] is never consulted, and nothing is compared across a context reset.
    for (let i = 1; i < ids.length; i++) {
      if (!config.monotonic) values.push(Math.fround(entropies[i]));
      else if (i > 1 && !resetsContext(config, ids[i - 1])) {
        values.push(Math.fround(Math.fround(entropies[i]) - Math.fround(entropies[i - 1])));
      }
    }
  }
  return Float32Array.from(new Set(values.filter(Number.isFinite))).sort();
}

/** One threshold below all values, one between each two, one above all. */
function candidateThresholds(values: Float32Array): number[] {
  if (values.length === 0) return [];
  const margin = 0.001;
  const candidates = [Math.fround(values[0] - margin)];
  for (let i = 1; i < values.length; i++) {
    const middle = Math.fround((values[i - 1] + values[i]) / 2);
    // Between two neighbouring float32 numbers there is none: the lower one excludes itself, as the rule is strict.
    candidates.push(middle < values[i] ? middle : values[i - 1]);
  }
  candidates.push(Math.fround(values[values.length - 1] + margin));
  return candidates;
}

function unreachable(wanted: number, low: Calibration, high: Calibration): UserError {
  // Rounded inwards, so that the numbers named can be asked for.
  const shortest = Math.ceil(low.meanPatchLength * 100) / 100;
  const longest = Math.floor(high.meanPatchLength * 100) / 100;
  const range = shortest < longest ? `from ${shortest} to ${longest}` : `about ${low.meanPatchLength.toFixed(2)} only`;
  return new UserError(
    `No threshold gives a mean patch length of ${wanted} bytes on these files; with the other patching settings as they are it can be ${range}.`,
  );
}
