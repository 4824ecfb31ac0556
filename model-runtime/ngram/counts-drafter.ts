/**
 * Drafts of what the counts of the workspace and of the text itself expect (docs/ngram.md, B): their likeliest byte, and behind
 * it the next, as long as their chances are worth what reading them costs.
 */
import { ChanceRecord } from "../generation/chance-record";
import { type DraftCosts, usualDraftCosts } from "../generation/draft-record";
import type { DraftContext, Drafter, ValuedDraft } from "../generation/drafter";
import { argmax } from "../generation/sampling";
import { BYTE_OFFSET } from "../ids";
import { END_SYMBOL } from "./chains";
import { History } from "./history";
import { Mixture } from "./mixture";
import { defaultMixtureWeights } from "./mixture-weights";
import type { WorkspaceIndex } from "./workspace-index";

/** Most bytes of a draft. */
const MOST_BYTES = 40;
/** What a saved byte is worth, in bytes written without drafts: with them it would not have cost a whole one either. */
const WORTH = 0.67;
/** Upper ends of the classes of chances. */
const CHANCES = [0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1];
/** Bytes that a chance of the counts counts as much as, where few were compared. */
const BELIEF = 40;
/** How much a compared byte of the past counts against the newest one. */
const MEMORY = 0.995;
/** How much a draft of the past counts against the newest one, and bytes that trust in drafts begins with. */
const RECENT = 0.7;
const TRUST = 6;
/** How much of that is kept where nothing is drafted. */
const FORGOTTEN = 0.9;

export class CountsDrafter implements Drafter {
  readonly name = "counts";
  /** The counted text: that of the last draft. */
  private readonly history = new History();
  private continuation: object | null = null;
  private readonly mixture: Mixture;
  private readonly weights = defaultMixtureWeights();
  private readonly record = new ChanceRecord(CHANCES, BELIEF, MEMORY);
  /** Bytes of the last drafts: expected to be right, and right. */
  private recent = { expected: 0, right: 0 };

  /** @param index counts of the workspace; null counts the text alone */
  constructor(index: WorkspaceIndex | null) {
    this.mixture = new Mixture(index);
  }

  draft({ text, continuation, most, sequence }: DraftContext): ValuedDraft | null {
    const costs = sequence?.draftCosts ?? usualDraftCosts;
    this.follow(text, continuation);
    const bytes: number[] = [];
    const chances: number[] = [];
    let [all, gain, best, length, sum, expected] = [this.trust, -costs.run, 0, 0, 0, 0];
    while (bytes.length < Math.min(most, MOST_BYTES) && this.canStillGain(all, gain, best, costs)) {
      const { symbol, chance } = this.likeliest();
      if (symbol === END_SYMBOL) break;
      bytes.push(symbol);
      chances.push(chance);
      this.history.push(symbol + BYTE_OFFSET);
      all *= this.record.believed(chance);
      gain += all * WORTH - costs.byte;
      sum += all;
      if (gain > best) [best, length, expected] = [gain, bytes.length, sum];
    }
    this.history.truncate(text.length);
    if (length === 0) {
      // Trust comes back with time.
      this.recent.expected *= FORGOTTEN;
      this.recent.right *= FORGOTTEN;
      return null;
    }
    return {
      bytes: Uint8Array.from(bytes.slice(0, length)),
      gain: best,
      learn: (right, wrong) => {
        for (let i = 0; i < right; i++) this.record.learn(chances[i], true);
        if (wrong === 1) this.record.learn(chances[right], false);
        this.recent.expected = RECENT * this.recent.expected + (wrong === 1 ? expected : right);
        this.recent.right = RECENT * this.recent.right + right;
      },
    };
  }

  /** Whether further bytes may be worth more than they cost: each as likely as the last one, at best. */
  private canStillGain(all: number, gain: number, best: number, costs: DraftCosts): boolean {
    const each = all * WORTH - costs.byte;
    return each > 0 && gain + each * MOST_BYTES > best;
  }

  /** Makes the counted text this one. Only what is new in a continuation is looked at: a draft costs no more in a long text. */
  private follow(text: Uint8Array, continuation: object): void {
    const { history } = this;
    if (continuation !== this.continuation) history.truncate(this.commonLength(text));
    this.continuation = continuation;
    for (let at = history.length; at < text.length; at++) history.push(text[at] + BYTE_OFFSET);
  }

  /** Bytes at the beginning that a text and the counted one have in common. */
  private commonLength(text: Uint8Array): number {
    const { history } = this;
    let same = 0;
    while (same < text.length && history.idAt(same) === text[same] + BYTE_OFFSET) same++;
    return same;
  }

  private likeliest(): { symbol: number; chance: number } {
    const logProbs = this.mixture.predict(this.history, null, this.weights);
    const symbol = argmax(logProbs);
    return { symbol, chance: Math.exp(logProbs[symbol]) };
  }

  /** Share of what is expected that is likely to be right here: the model may not go the way of the counts at all. */
  private get trust(): number {
    const { expected, right } = this.recent;
    return Math.min(1, (right + TRUST) / (expected + TRUST));
  }
}
