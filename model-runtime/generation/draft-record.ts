/**
 * How often drafts were right, by source and strength, and how long they are worth being: a byte is drafted as long as
 * the chance that it is needed, times what it would cost by itself, exceeds what verifying it costs.
 */
export interface DraftRecordOptions {
  /** Cost of a verified byte as a share of that of a byte written by itself. */
  verifyCost: number;
  /** Longest draft, bytes. */
  most: number;
}

/** How much a draft of the past counts against the newest one. */
const MEMORY = 0.97;
/** What is believed of a source that has not been tried: as good as so many bytes of which this share was right. */
const PRIOR = { bytes: 8, right: 0.85 };

interface Record {
  /** Bytes that were compared with what the model wrote, and those of them that were the same. */
  compared: number;
  right: number;
}

export class DraftRecord {
  private readonly records = new Map<string, Record>();

  constructor(private readonly options: DraftRecordOptions) {}

  /** Chance that a byte of such a draft is right, if those before it are. */
  rate(source: string, strength: number): number {
    const { compared, right } = this.records.get(keyOf(source, strength)) ?? { compared: 0, right: 0 };
    return (right + PRIOR.bytes * PRIOR.right) / (compared + PRIOR.bytes);
  }

  /**
   * How many bytes of such a draft are worth being proposed and verified.
   * @param cost of proposing a byte, as in `Drafter`
   */
  worth(source: string, strength: number, cost = 0): number {
    const { verifyCost, most } = this.options;
    const rate = this.rate(source, strength);
    if (rate >= 1) return most;
    return Math.max(0, Math.min(most, Math.floor(Math.log(verifyCost + cost) / Math.log(rate))));
  }

  /** Bytes of such a draft that are expected to be right. */
  expected(source: string, strength: number, length: number): number {
    const rate = this.rate(source, strength);
    return rate >= 1 ? length : (rate * (1 - rate ** length)) / (1 - rate);
  }

  /** Of a draft `right` bytes were right and then `wrong` ones were wrong: 1, or 0 when no more were compared. */
  learn(source: string, strength: number, { right, wrong }: { right: number; wrong: 0 | 1 }): void {
    const key = keyOf(source, strength);
    const old = this.records.get(key) ?? { compared: 0, right: 0 };
    this.records.set(key, { compared: MEMORY * old.compared + right + wrong, right: MEMORY * old.right + right });
  }
}

function keyOf(source: string, strength: number): string {
  return `${source} ${strength}`;
}
