/** Drafts: bytes that may come next, proposed cheaply and then verified by the model, many in one run. */

import type { TextState } from "../model/text-state";

/** A text that drafts are to continue. */
export interface DraftContext {
  /** All bytes so far, those of the suggestion included; a view that holds until the drafter has answered. */
  readonly text: Uint8Array;
  /** The same object as long as bytes were only appended to the text. */
  readonly continuation: object;
  /** The text inside the model, without its last byte; a drafter leaves it as it finds it. */
  readonly sequence: TextState;
  /** Most bytes wanted. */
  readonly most: number;
}

export type Draft = RecordedDraft | ValuedDraft;

/** A draft of which the record of its source (`DraftRecord`) says how long it is worth being. */
export interface RecordedDraft {
  bytes: Uint8Array;
  /**
   * How much is behind it, such as the bucket of a match's length: drafts of one source with the same strength are taken
   * to be right equally often. A whole number from 0 to 15.
   */
  strength: number;
}

/** A draft that is already as long as it is worth. */
export interface ValuedDraft {
  bytes: Uint8Array;
  /** Bytes it is expected to save. */
  gain: number;
  /** Is told how many of its bytes were right, and whether the next one was wrong (0 when none was compared). */
  learn(right: number, wrong: 0 | 1): void;
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
