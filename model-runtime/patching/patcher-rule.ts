/**
 * The patching rule as a state machine: one id in, "does the next position start a patch?" out.
 *
 * Position 0 is BOS; H[i] is the entropy, in nats, of the patcher's distribution for position i + 1. Whether position
 * j starts a patch is decided by what is known at j - 1, so the answer is there before byte j is. The rules are
 * those of blt-spec section 4; every whole-document function runs this same machine.
 */

import type { PatchingConfig } from "../checkpoint/config";
import { UserError } from "../errors";
import { BPE_DELIMITER, BYTE_OFFSET } from "../ids";

/** A rule and its place in a document. */
export interface PatchRule {
  /**
   * Reads the id of the next position i (BOS first) with its entropy H[i] in nats (any number, NaN too, in modes that
   * use none) and says whether position i + 1 starts a patch.
   */
  step(id: number, entropy: number): boolean;
  snapshot(): PatchRuleState;
  restore(state: PatchRuleState): void;
}

/** All that a rule remembers of the ids it has read: the same size after any number of them. */
export interface PatchRuleState {
  /** Ids read. */
  readonly position: number;
  /** Ids in the open patch; 0 when the next position starts one. */
  readonly openLength: number;
  /** H of the last position; NaN where there is none to compare with. */
  readonly entropy: number;
  /** Mode `space`: the last id is no letter, digit or continuation byte. */
  readonly afterSeparator: boolean;
}

/** Whether patches are cut by entropy, so that `step` needs a true entropy for each id. */
export function usesEntropy(config: PatchingConfig): boolean {
  return config.mode === "entropy";
}

/**
 * Whether the entropy model's context ends with this id (newline reset, paper section 4.4). It does for the entropy
 * model what EOS does for a document: positions after the id attend only to positions after it, so the entropies of
 * a line do not depend on the lines before. The id's own entropy is still computed in the context that it ends. The
 * other three networks keep their context.
 */
export function resetsContext(config: PatchingConfig, id: number): boolean {
  return usesEntropy(config) && config.newlineReset && id === NEWLINE;
}

/**
 * A rule at the beginning of a document.
 *
 * Positions 0 and 1 start a patch in every mode. Beyond, position j = i + 1 starts one
 * - `entropy`: iff H[i] > threshold;
 * - `entropy`, monotonic: for j = 2, and iff H[i] - H[i-1] > threshold; takes precedence over `thresholdAdd`;
 * - `entropy`, `thresholdAdd`: for j = 2, not for j = 3 (so does Meta's code, blt-spec section 4.3), and beyond iff
 *   H[i] > threshold and H[i] - H[i-1] > thresholdAdd;
 * - `space`: iff id i is special, or a separator (ASCII without letters and digits, or a UTF-8 lead byte) and the id
 *   before is neither;
 * - `static`: iff j is a multiple of `patchSize`, which gives lengths 1, patchSize - 1, patchSize, patchSize, ...;
 * - `byte`: always;
 * - `bpe`: iff id i is the delimiter. Meta's code never looks at the last known id, so its answer for a delimiter
 *   there changes when the next id arrives; this one says at once what that code says later.
 *
 * Then, in any mode: after a newline with `newlineReset`; not where the patch that closes would be shorter than
 * `minPatchLength` (the patch of BOS may); always where it holds `maxPatchLength` ids. Comparisons are made in float32,
 * as the reference implementations do. A rise is not taken across a context reset, where it would compare
 * two contexts.
 *
 * UserError when the configuration describes no rule.
 */
export function createPatchRule(config: PatchingConfig): PatchRule {
  checkPatching(config);
  const starts = modeRule(config);
  const { newlineReset, minPatchLength } = config;
  const maxPatchLength = config.maxPatchLength ?? Number.POSITIVE_INFINITY;
  let state: PatchRuleState = { position: 0, openLength: 0, entropy: Number.NaN, afterSeparator: false };

  return {
    step(id, entropy) {
      const length = state.openLength + 1;
      const first = state.position === 0;
      const wanted = first || starts(state, id, entropy) || (newlineReset && id === NEWLINE);
      const start = (wanted && (first || length >= minPatchLength)) || length >= maxPatchLength;
      state = ruleStateAfter(config, id, {
        position: state.position + 1,
        openLength: start ? 0 : length,
        entropy,
      });
      return start;
    },
    snapshot: () => state,
    restore(saved) {
      state = saved;
    },
  };
}

/**
 * The state of a rule after `position` ids whose last one is `id`, known from the end of the text before it alone.
 *
 * @param openLength ids in the open patch, 0 when the next position starts one; as many as the longest and the shortest
 *   patch allowed, whichever is longer, stand for more
 */
export function ruleStateAfter(
  config: PatchingConfig,
  id: number,
  { position, openLength, entropy }: Omit<PatchRuleState, "afterSeparator">,
): PatchRuleState {
  return {
    position,
    openLength,
    entropy: resetsContext(config, id) ? Number.NaN : Math.fround(entropy),
    afterSeparator: isSeparator(id),
  };
}

const NEWLINE = 0x0a + BYTE_OFFSET;

/** What the mode alone says of position i + 1 >= 2, from the state before position i, its id and its entropy. */
type ModeRule = (before: PatchRuleState, id: number, entropy: number) => boolean;

function modeRule(config: PatchingConfig): ModeRule {
  switch (config.mode) {
    case "entropy":
      return entropyRule(config);
    case "space":
      return (before, id) => isSpecial(id) || (isSeparator(id) && !before.afterSeparator);
    case "static":
      return (before) => (before.position + 1) % config.patchSize === 0;
    case "byte":
      return () => true;
    case "bpe":
      return (_, id) => id === BPE_DELIMITER;
  }
}

function entropyRule(config: PatchingConfig): ModeRule {
  const threshold = Math.fround(config.threshold);
  const exceeds = (entropy: number) => Math.fround(entropy) > threshold;
  const rise = (before: PatchRuleState, entropy: number) => Math.fround(Math.fround(entropy) - before.entropy);
  if (config.monotonic) return (before, _, entropy) => before.position === 1 || rise(before, entropy) > threshold;
  if (config.thresholdAdd === null) return (_before, _id, entropy) => exceeds(entropy);
  const thresholdAdd = Math.fround(config.thresholdAdd);
  return (before, _, entropy) => {
    if (before.position < 3) return before.position === 1;
    return exceeds(entropy) && rise(before, entropy) > thresholdAdd;
  };
}

function isSpecial(id: number): boolean {
  return id < BYTE_OFFSET;
}

/** Special ids, ASCII other than letters and digits, and bytes from 0xC0, which begin a UTF-8 sequence. */
export function isSeparator(id: number): boolean {
  const byte = id - BYTE_OFFSET;
  if (byte >= 0x80) return byte >= 0xc0;
  // Special ids come out below 0: neither.
  const isDigit = byte >= 0x30 && byte <= 0x39;
  const lower = byte | 0x20;
  const isLetter = lower >= 0x61 && lower <= 0x7a;
  return !isDigit && !isLetter;
}

function checkPatching(config: PatchingConfig): void {
  const { mode, threshold, thresholdAdd, patchSize, minPatchLength, maxPatchLength } = config;
  if (mode === "entropy" && Number.isNaN(threshold)) {
    throw new UserError("The patching threshold is not a number; give it in nats, such as 1.335.");
  }
  if (mode === "entropy" && thresholdAdd !== null && Number.isNaN(thresholdAdd)) {
    throw new UserError(
      "The second patching threshold (threshold_add) is not a number; give it in nats, or leave it out.",
    );
  }
  if (mode === "static" && !isLength(patchSize)) {
    throw new UserError(`Patching mode "static" needs a whole patch_size of at least 1, not ${patchSize}.`);
  }
  if (!isLength(minPatchLength)) {
    throw new UserError(`The shortest patch length must be a whole number of at least 1, not ${minPatchLength}.`);
  }
  if (maxPatchLength !== null && !isLength(maxPatchLength)) {
    throw new UserError(`The longest patch length must be a whole number of at least 1, not ${maxPatchLength}.`);
  }
  if (maxPatchLength !== null && minPatchLength > maxPatchLength) {
    throw new UserError(
      `The shortest patch length (${minPatchLength}) exceeds the longest (${maxPatchLength}); lower the one or raise the other.`,
    );
  }
}

function isLength(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 1;
}
