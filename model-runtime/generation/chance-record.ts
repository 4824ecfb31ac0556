/** What stated chances have turned out to be worth, class by class: believed as they are until what came has shown otherwise. */

/** Proposals that were compared with what came, and those of them that were right. */
interface Tally {
  compared: number;
  right: number;
}

export class ChanceRecord {
  private readonly tallies: Tally[];

  /**
   * @param ends upper ends of the classes of chances, ascending; the last class holds all above the end before
   * @param belief proposals that a stated chance counts as much as
   * @param memory how much a proposal of the past counts against the newest one of its class
   */
  constructor(
    private readonly ends: readonly number[],
    private readonly belief: number,
    private readonly memory: number,
  ) {
    this.tallies = ends.map(() => ({ compared: 0, right: 0 }));
  }

  /** The chance that a proposal is right whose stated chance is `chance`. */
  believed(chance: number): number {
    const { compared, right } = this.tallyOf(chance);
    return (right + this.belief * chance) / (compared + this.belief);
  }

  /** A proposal with a stated chance was compared with what came. */
  learn(chance: number, isRight: boolean): void {
    const tally = this.tallyOf(chance);
    tally.compared = this.memory * tally.compared + 1;
    tally.right = this.memory * tally.right + (isRight ? 1 : 0);
  }

  private tallyOf(chance: number): Tally {
    const found = this.ends.findIndex((end) => chance < end);
    return this.tallies[found < 0 ? this.tallies.length - 1 : found];
  }
}
