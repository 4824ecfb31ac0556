/** Drafts by the longest match in the text: what drafts of counts are measured beside. */
import type { DraftContext, Drafter, RecordedDraft } from "../../../model-runtime/generation/drafter";

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

  draft({ text, most }: DraftContext): RecordedDraft | null {
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
