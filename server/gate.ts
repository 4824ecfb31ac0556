/** Whether to suggest at all: the rules that are asked before the model runs, and the confidence afterwards. */
import { basename } from "node:path";
import type { Context } from "./context";
import { MAX_DOCUMENT_LENGTH, type OpenDocument } from "./documents";
import type { Reason, Settings } from "./protocol";
import { isLanguageEnabled } from "./settings";
import { decodeURIComponentSafely } from "./uri";

/** Why nothing is shown: the reason's name and its sentence. */
export interface Refusal {
  reason: Reason;
  sentence: string;
}

/** Why nothing is suggested in this document, wherever the cursor is; null when something may be. */
export function refuseDocument(
  document: OpenDocument | undefined,
  settings: Settings,
): { refusal: Refusal } | { refusal: null; document: OpenDocument } {
  if (document === undefined) {
    return refused("unknownDocument", "The editor asked about a document that it has not opened.");
  }
  const name = basename(decodeURIComponentSafely(document.uri));
  if (!settings.enable) return refused("disabled", "Suggestions are switched off (setting blt.enable).");
  if (!isLanguageEnabled(settings, document.languageId)) {
    return refused(
      "languageDisabled",
      `Suggestions are switched off for ${document.languageId} (setting blt.languages).`,
    );
  }
  if (document.text === null) {
    const limit = MAX_DOCUMENT_LENGTH.toLocaleString("en");
    return refused("documentTooLarge", `${name} is too large: suggestions are made up to ${limit} characters.`);
  }
  return { refusal: null, document };
}

/** Why nothing is suggested at this place; null when something may be. */
export function refusePlace(context: Context, invoked: boolean): Refusal | null {
  if (context.text.includes("\0")) {
    return { reason: "binaryDocument", sentence: "The text before the cursor has zero bytes: this is a binary file." };
  }
  // What an editor closes by itself, and the punctuation behind it, may follow.
  if (!invoked && !/^[\s)\]}>"'`;:,]*$/.test(context.lineRest)) {
    return {
      reason: "textAfterCursor",
      sentence: "There is text behind the cursor in its line; trigger the suggestion by hand to get one there.",
    };
  }
  return null;
}

/** Bytes after which the running mean is looked at, and after which it must be as high as wanted. */
const [FIRST_LOOK, LAST_PATIENCE] = [6, 24];

/**
 * Reads the log-probabilities (nats) of a suggestion's bytes in their order; true when it can be given up: at first when
 * the mean is half as high as wanted, later when it is too low at all.
 */
export function createConfidenceRule(minConfidence: number): (logProb: number) => boolean {
  const wanted = Math.log(minConfidence);
  let sum = 0;
  let count = 0;
  return (logProb) => {
    sum += logProb;
    count++;
    const patience = Math.max(0, (LAST_PATIENCE - count) / (LAST_PATIENCE - FIRST_LOOK));
    return count >= FIRST_LOOK && sum / count < (1 + patience) * wanted;
  };
}

/**
 * The longest beginning of a suggestion whose bytes have a geometric mean probability of at least `minConfidence`: all of
 * it, or else one that ends where a word ends, or else nothing.
 *
 * @param logProbs nats, one for each byte
 * @returns length in bytes
 */
export function confidentLength(bytes: Uint8Array, logProbs: ArrayLike<number>, minConfidence: number): number {
  const least = Math.log(minConfidence);
  let sum = 0;
  let length = 0;
  for (let i = 0; i < bytes.length; i++) {
    sum += logProbs[i];
    const isEnd = i + 1 === bytes.length || (isWordByte(bytes[i]) && !isWordByte(bytes[i + 1]));
    if (isEnd && sum / (i + 1) >= least) length = i + 1;
  }
  return length;
}

/** Geometric mean of probabilities given as logarithms (nats). */
export function meanProbability(logProbs: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < logProbs.length; i++) sum += logProbs[i];
  return Math.exp(sum / logProbs.length);
}

/** Letters, digits, `_`, and every byte of a character beyond ASCII. */
export function isWordByte(byte: number): boolean {
  return (
    (byte >= 0x30 && byte <= 0x39) ||
    (byte >= 0x41 && byte <= 0x5a) ||
    (byte >= 0x61 && byte <= 0x7a) ||
    byte === 0x5f ||
    byte >= 0x80
  );
}

function refused(reason: Reason, sentence: string): { refusal: Refusal } {
  return { refusal: { reason, sentence } };
}
