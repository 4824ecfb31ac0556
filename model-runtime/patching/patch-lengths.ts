/** Patches of a whole document. n is the number of its ids, BOS included. */

import type { PatchingConfig } from "../checkpoint/config";
import { createPatchRule } from "./patcher-rule";

/** Where the patches of n ids start, and whether the unseen position n starts one too. */
export interface PatchCut {
  /** Positions, ascending: 0, 1 and what the rule finds below n. */
  starts: number[];
  nextStarts: boolean;
}

/**
 * Cuts a document as `createPatchRule` would, id by id.
 *
 * @param ids [n], BOS first
 * @param entropies [n] in nats; null in modes that use none
 */
export function patchStarts(
  ids: ArrayLike<number>,
  entropies: ArrayLike<number> | null,
  config: PatchingConfig,
): PatchCut {
  const n = ids.length;
  if (entropies !== null && entropies.length !== n) {
    throw new RangeError(`${n} ids but ${entropies.length} entropies`);
  }
  const rule = createPatchRule(config);
  const starts: number[] = [];
  let startsHere = true;
  for (let i = 0; i < n; i++) {
    if (startsHere) starts.push(i);
    startsHere = rule.step(ids[i], entropies === null ? Number.NaN : entropies[i]);
  }
  return { starts, nextStarts: startsHere };
}

/**
 * Lengths of the patches with the next position counted in the last one: they sum to n + 1, and the last is 1 when
 * the next byte opens a patch (blt-spec section 4.1).
 */
export function patchLengths(cut: PatchCut, n: number): number[] {
  const bounds = cut.nextStarts ? [...cut.starts, n, n + 1] : [...cut.starts, n + 1];
  return bounds.slice(1).map((end, p) => end - bounds[p]);
}

/** Ids a patch, BOS and its patch left out, over documents of n ids each; NaN when they hold nothing but BOS. */
export function meanPatchLength(documents: Iterable<{ cut: PatchCut; n: number }>): number {
  let ids = 0;
  let patches = 0;
  for (const { cut, n } of documents) {
    ids += Math.max(0, n - 1);
    patches += Math.max(0, cut.starts.length - 1);
  }
  return ids / patches;
}
