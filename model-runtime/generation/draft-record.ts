/**
 * How often drafts were right, by source and strength, and how long they are worth being: so long that the bytes which are
 * likely to be right save more than reading the draft costs.
 */

/** What reading a draft costs, in bytes written one by one. */
export interface DraftCosts {
  /** Of each byte of the draft. */
  byte: number;
  /** Of the draft as such: what it makes the model do that a byte alone does not. */
  run: number;
}

/** Of a text that says nothing else. */
export const usualDraftCosts: DraftCosts = { byte: 0.2, run: 0.3 };

/** How much a draft of the past counts against the newest one. */
const MEMORY = 0.97;
/** What is believed of a strength before it has been tried counts as much as so many bytes. */
const BELIEF_BYTES = 24;

interface Counts {
  /** Bytes that were compared with what came, and those of them that were the same. */
  compared: number;
  right: number;
}

export class DraftRecord {
  private readonly counts = new Map<string, Counts>();

  /** @param most longest draft, bytes */
  constructor(private readonly most = 48) {}

  /** Chance that a byte of such a draft is right, if those before it are. */
  rate(source: string, strength: number): number {
    const { compared, right } = this.counts.get(keyOf(source, strength)) ?? { compared: 0, right: 0 };
    return (right + BELIEF_BYTES * believedRate(strength)) / (compared + BELIEF_BYTES);
  }

  /**
   * The best length of a draft of `available` bytes, and the bytes that it saves; 0 when it is not worth reading.
   * @param costs of reading and of proposing it
   */
  worth(source: string, strength: number, available: number, costs: DraftCosts): { length: number; gain: number } {
    const rate = this.rate(source, strength);
    const longest = Math.min(available, this.most);
    let [length, gain] = [0, -costs.run];
    for (let chance = rate; length < longest && chance > costs.byte; chance *= rate) {
      gain += chance - costs.byte;
      length++;
    }
    return gain > 0 ? { length, gain } : { length: 0, gain: 0 };
  }

  /** Of a draft `right` bytes were right and then `wrong` ones were wrong: 1, or 0 when no more were compared. */
  learn(source: string, strength: number, { right, wrong }: { right: number; wrong: 0 | 1 }): void {
    const key = keyOf(source, strength);
    const old = this.counts.get(key) ?? { compared: 0, right: 0 };
    this.counts.set(key, { compared: MEMORY * old.compared + right + wrong, right: MEMORY * old.right + right });
  }
}

/** Before anything was compared: how often bytes that followed an earlier match in TypeScript were right, of 4 bytes (1) or 18 (6). */
function believedRate(strength: number): number {
  return Math.min(0.95, 0.74 + 0.026 * strength);
}

function keyOf(source: string, strength: number): string {
  return `${source} ${strength}`;
}
