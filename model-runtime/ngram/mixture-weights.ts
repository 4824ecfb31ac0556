/** The weights that the mixture begins with, learned on projects other than those that numbers are reported on. */

import { initialMixtureWeights } from "./mixture";
import data from "./mixture-weights.json";

/** Weights are stored as whole numbers of this size. */
export const WEIGHT_UNIT = 0.01;

let weights: Float32Array | null = null;

/** [MIXTURE_WEIGHTS]; shared, so not to be changed. */
export function defaultMixtureWeights(): Float32Array {
  if (weights === null) {
    weights = initialMixtureWeights();
    // Pairs of index and value: most situations never occurred and keep what they began with.
    for (let i = 0; i < data.length; i += 2) weights[data[i]] = data[i + 1] * WEIGHT_UNIT;
  }
  return weights;
}
