/** Drafts: bytes that may come next, proposed cheaply and then verified by the model, many in one run. */

import type { TextState } from "../model/text-state";

/** A text that drafts are to continue. */
export interface DraftContext {
  /** All bytes so far, those of the suggestion included; a view that holds until the drafter has answered. */
  readonly text: Uint8Array;
  /** The text inside the model, without its last byte; a drafter leaves it as it finds it. */
  readonly sequence: TextState;
  /** Most bytes wanted. */
  readonly most: number;
}

export interface Draft {
  bytes: Uint8Array;
  /**
   * How much is behind it, such as the bucket of a match's length: drafts of one source with the same strength are taken
   * to be right equally often. A whole number from 0 to 15.
   */
  strength: number;
  /** Bytes it is expected to save, where the drafter knows; it is then as long as it is worth. Else the record says both. */
  gain?: number;
  /** Of a draft with a `gain`: how many of its bytes were right, and whether the next one was wrong (0 when none was compared). */
  learn?(right: number, wrong: 0 | 1): void;
}

/** A source of drafts. It may hold state of its own; what it proposes changes how fast a text is written, never which. */
export interface Drafter {
  /** Names the source in records and measurements. */
  readonly name: string;
  /**
   * What a proposed byte costs, as a share of a byte written without drafts; about nothing when undefined. Costly sources
   * are asked when no other has a draft that is worth more.
   */
  readonly cost?: number;
  /** Bytes that a draft of this source saves on the average, where it knows: a cheap draft that saves more is taken without asking it. */
  readonly usualGain?: number;
  /** Null when it has nothing to propose. */
  draft(context: DraftContext, signal?: AbortSignal): Draft | null | Promise<Draft | null>;
}

/** Shortest ending of the text that is looked for, bytes. */
const SHORTEST_MATCH = 4;
/** Longer matches are not told apart. */
const LONGEST_MATCH = 48;

/**
 * What followed the longest earlier occurrence of the text's end (prompt lookup; LLMA, Yang et al. 2023), of several the
 * last one.
 */
export class PromptLookup implements Drafter {
  readonly name = "prompt";

  draft({ text, most }: DraftContext): Draft | null {
    const end = text.length;
    let [best, bestLength] = [-1, SHORTEST_MATCH - 1];
    for (let at = end - 1; at >= SHORTEST_MATCH && bestLength < LONGEST_MATCH; at--) {
      // One look at the byte that would make it longer spares most comparisons.
      if (
        text[at - 1] !== text[end - 1] ||
        (at > bestLength && text[at - 1 - bestLength] !== text[end - 1 - bestLength])
      )
        continue;
      let length = 1;
      while (length < LONGEST_MATCH && length < at && text[at - 1 - length] === text[end - 1 - length]) length++;
      if (length > bestLength) [best, bestLength] = [at, length];
    }
    if (best < 0) return null;
    const strength = Math.min(15, Math.floor(bestLength / 3));
    return { bytes: text.slice(best, Math.min(end, best + most)), strength };
  }
}
