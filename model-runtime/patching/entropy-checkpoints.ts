/**
 * Places of a text up to which an entropy stream has read, kept so that reading goes on there without its receptive field
 * being run again: where the last edits were, and where reading stopped.
 */
import type { EntropyStream, Patcher } from "../model/entropy-model";

/** A stream that has read the text up to `at`. */
export interface Checkpoint {
  stream: EntropyStream;
  /** Bytes of the text read: the next id is that of byte `at`. */
  at: number;
  /** From here on its entropies are those of the whole text, so it may be taken back to here. */
  exactFrom: number;
}

/** Most memory for checkpoints that are kept, bytes; one is kept whatever it takes. */
const MOST_BYTES = 4 * 2 ** 20;
const MOST = 8;
/** Ids of one stream: the table of rotations grows with them. Where it ends, one receptive field is read again. */
const LONGEST_STREAM = 16_384;
/** Ids that a windowed cache keeps beyond its window. */
const EASILY_TAKEN_BACK = 32;

export class EntropyCheckpoints {
  /** In the order of use, the next to go first. */
  private kept: Checkpoint[] = [];

  constructor(private readonly receptiveField: Patcher["receptiveField"]) {}

  /** Bytes of memory held. */
  get byteLength(): number {
    return this.kept.reduce((sum, { stream }) => sum + stream.byteLength, 0);
  }

  /**
   * Takes out the checkpoint from which the fewest bytes have to be read before byte `at`; null when that is none.
   * @param seen the first byte that matters, with which reading would begin without a checkpoint
   */
  take(at: number, seen: number): Checkpoint | null {
    const distance = (one: Checkpoint) => Math.abs(at - one.at);
    const usable = this.kept.filter(
      (each) => each.at >= seen && each.at - at <= EASILY_TAKEN_BACK && at >= each.exactFrom,
    );
    if (usable.length === 0) return null;
    const best = usable.reduce((nearest, each) => (distance(each) < distance(nearest) ? each : nearest));
    this.kept.splice(this.kept.indexOf(best), 1);
    if (best.at > at && !best.stream.takeBack(best.at - at)) return this.take(at, seen);
    best.at = Math.min(best.at, at);
    return best;
  }

  keep(checkpoint: Checkpoint): void {
    if (checkpoint.stream.length > LONGEST_STREAM && Number.isFinite(this.receptiveField)) return;
    this.kept = this.kept.filter(({ at }) => at !== checkpoint.at);
    this.kept.push(checkpoint);
    while (this.kept.length > MOST || (this.kept.length > 1 && this.byteLength > MOST_BYTES)) this.kept.shift();
  }

  /** Forgets what an edit makes untrue; what lies behind it by more than the receptive field moves with its text. */
  edited(start: number, deleted: number, inserted: number): void {
    const moved = inserted - deleted;
    const end = start + inserted;
    this.kept = this.kept.filter((each) => {
      if (each.at <= start) return true;
      if (each.at - this.receptiveField >= start + deleted) {
        each.at += moved;
        each.exactFrom = Math.max(each.exactFrom + moved, end + this.receptiveField);
        return true;
      }
      const readTooFar = each.at - start;
      if (start < each.exactFrom || !each.stream.takeBack(readTooFar)) return false;
      each.at = start;
      return true;
    });
  }
}
