/** Drafts of what a model foresees of itself (`TextState.foresee`), as long as their chances are worth what reading them costs. */
import { BYTE_OFFSET } from "../ids";
import { ChanceRecord } from "./chance-record";
import type { DraftContext, Drafter, ValuedDraft } from "./drafter";

/** Most parts of a draft. */
const MOST_PARTS = 8;
/** What one more part costs to foresee, as a share of a run of the model. */
const FORESEEING = 0.05;
/** Chance that the next part is taken to have while it is not known. */
const USUAL_CHANCE = 0.6;
/** What a draft makes the model run besides: questions that nobody foresaw. */
const QUESTIONS = 0.1;
/** Parts that the first belief about a chance counts as much as. */
const BELIEF = 12;
/** Upper ends of the classes of chances. */
const CHANCES = Array.from({ length: 12 }, (_, i) => (i + 1) / 12);
/** How much a draft of the past counts against the newest one. */
const MEMORY = 0.98;

export class ForesightDrafter implements Drafter {
  readonly name = "foresight";
  readonly cost = 0.1;
  /** Of parts; the draft layer's chances are right on real code (docs/performance-incremental.md). */
  private readonly record = new ChanceRecord(CHANCES, BELIEF, MEMORY);
  private gain = 2;

  /** Of the last drafts, bytes. */
  get usualGain(): number {
    return this.gain;
  }

  async draft({ sequence, text, most }: DraftContext, signal?: AbortSignal): Promise<ValuedDraft | null> {
    if (!sequence.foresee) return null;
    const row = sequence.draftCosts?.byte ?? 0.2;
    let [chance, gain, bytes] = [1, -QUESTIONS, 0];
    const said: number[] = [];
    const parts = await sequence.foresee(
      text[text.length - 1] + BYTE_OFFSET,
      (model, length) => {
        if (length === 0) {
          chance = model;
          return chance * USUAL_CHANCE > row + FORESEEING + QUESTIONS;
        }
        // What it took to foresee this part is spent; the next one has to be worth that too.
        const next = chance * this.record.believed(model);
        if (next < row || bytes + length > most || said.length === MOST_PARTS) return false;
        said.push(model);
        [chance, bytes] = [next, bytes + length];
        gain += chance - row - FORESEEING;
        return chance * USUAL_CHANCE > row + FORESEEING ? true : "last";
      },
      signal,
    );
    if (parts === null || parts.length === 0 || gain <= 0) return null;
    const all = new Uint8Array(bytes);
    const ends: number[] = [];
    parts.reduce((at, part) => {
      all.set(part.bytes, at);
      return ends[ends.push(at + part.bytes.length) - 1];
    }, 0);
    const perPart = bytes / parts.length;
    return {
      bytes: all,
      gain: gain * perPart,
      learn: (right, wrong) => {
        ends.forEach((end, i) => {
          if (end <= right) this.record.learn(said[i], true);
          else if (wrong === 1 && (ends[i - 1] ?? 0) <= right) this.record.learn(said[i], false);
        });
        const rightParts = ends.filter((end) => end <= right).length;
        const found = (rightParts - ends.length * (row + FORESEEING) - QUESTIONS) * perPart;
        this.gain = Math.max(1, MEMORY * this.gain + (1 - MEMORY) * found);
      },
    };
  }
}
