/** Attention of rows by the row kernels. Shapes: N rows, H query heads, K key/value heads, D head width. */
import type { LocalConfig } from "../checkpoint/config";
import { slotsFor, VALUE_STRIP } from "../kernels/attention";
import type { JobArgument } from "../kernels/jobs";
import { floatBits, MOST_QUERIES } from "../kernels/native-jobs";
import { type Job, type RowMemory, type RowSpan, setArguments } from "../kernels/row-kernels";
import type { AttentionSlots } from "./attention-slots";

/** Positions of a stretch at least, and values that a row attends to: less is not worth waking up for. */
const LEAST_STRETCH = 64;
const LEAST_VALUES = 16384;
/** Rows whose scores lie beside each other in memory for threads to share; more are worked through by tiles, whose scores stay in a cache. */
const FEW_ROWS = 2;

export class RowAttention {
  private readonly jobs: {
    score: Job<JobArgument<"score">>;
    soften: Job<JobArgument<"soften">>;
    sum: Job<JobArgument<"sum">>;
  };
  private readonly scorePlaces: number[];
  private readonly softenPlace: number;
  private readonly sumPlaces: number[];
  private readonly scale: number;
  /** Attends for many rows; null where the kernels have nothing for that. */
  private readonly attend: ((layer: number, queries: RowSpan, out: RowSpan, count: number) => void) | null;

  /**
   * @param heads H; `keyHeads` K; `headDim` D
   * @param most N at most
   */
  constructor(
    private readonly memory: RowMemory,
    private readonly sight: AttentionSlots,
    private readonly heads: number,
    private readonly keyHeads: number,
    private readonly headDim: number,
    most: number,
  ) {
    const { slots } = sight;
    this.scale = Math.fround(1 / Math.sqrt(headDim));
    const scored = memory.isNative ? Math.min(most, FEW_ROWS) : most;
    const shared = {
      scores: memory.allocateFloats(scored * heads * slots),
      scoreBytes: 4 * slots,
      factors: memory.allocateFloats(scored * heads),
      headBytes: sight.headBytes,
      numberBytes: sight.numberBytes,
      keyHeads,
      together: heads / keyHeads,
      headDim,
    };
    this.jobs = {
      score: memory.job("score", { ...shared, mask: sight.mask }),
      soften: memory.job("soften", shared),
      sum: memory.job("sum", { ...shared, slots, strips: headDim / VALUE_STRIP }),
    };
    this.scorePlaces = this.jobs.score.places("queries", "queryBytes", "keys", "positions", "stretches", "stretch");
    [this.softenPlace] = this.jobs.soften.places("positions");
    this.sumPlaces = this.jobs.sum.places("values", "out", "outBytes", "positions");
    this.attend = memory.isNative && most > FEW_ROWS ? this.tiles() : null;
  }

  /** Queries [N, H D] -> attended [N, H D] in `out`; zeros where nothing is in sight. */
  apply(layer: number, queries: RowSpan, out: RowSpan, count: number): void {
    const { memory, sight, heads, keyHeads, headDim } = this;
    const positions = sight.slotsInUse;
    const width = heads * headDim;
    if (positions === 0) {
      for (let row = 0; row < count; row++) memory.row(out, row, width).fill(0);
      return;
    }
    if (this.attend !== null && count > FEW_ROWS) {
      this.attend(layer, queries, out, count);
      return;
    }
    for (let row = 0; row < count; row++) memory.kernels.scale(queries.at + row * queries.bytes, width, this.scale);
    const isSmall = count * keyHeads * headDim * positions < LEAST_VALUES;
    // Two stretches a thread, so that all threads end at about the same time whatever the number of key heads.
    const stretch = slotsFor(Math.max(LEAST_STRETCH, positions / (2 * memory.team.threads)));
    const stretches = Math.ceil(positions / stretch);
    const { score, soften, sum } = this.jobs;
    const keys = sight.keysOf(layer, 0);
    setArguments(score, this.scorePlaces, queries.at, queries.bytes, keys, positions, stretches, stretch);
    score.run(count * keyHeads * stretches, isSmall);
    soften.values[this.softenPlace] = positions;
    soften.run(count * heads, isSmall);
    setArguments(sum, this.sumPlaces, sight.valuesOf(layer, 0), out.at, out.bytes, positions);
    sum.run((count * keyHeads * headDim) / VALUE_STRIP, isSmall);
  }

  private tiles(): NonNullable<RowAttention["attend"]> {
    const { memory, sight, heads, keyHeads, headDim } = this;
    const { slots } = sight;
    const together = heads / keyHeads;
    const tile = Math.max(1, Math.floor(MOST_QUERIES / together));
    const scratchBytes = 4 * MOST_QUERIES * (slots + headDim);
    const job = memory.nativeJob("attend", {
      headBytes: sight.headBytes,
      numberBytes: sight.numberBytes,
      mask: sight.mask,
      maskBytes: 4 * slots,
      keyHeads,
      together,
      headDim,
      slots,
      ends: sight.ends,
      tile,
      scratch: memory.allocate(memory.team.threads * scratchBytes),
      scratchBytes,
      scale: floatBits(this.scale),
    });
    const places = job.places("queries", "queryBytes", "rows", "keys", "values", "out", "outBytes");
    return (layer, queries, out, count) => {
      const [keys, values] = [sight.keysOf(layer, 0), sight.valuesOf(layer, 0)];
      setArguments(job, places, queries.at, queries.bytes, count, keys, values, out.at, out.bytes);
      job.run(Math.ceil(count / tile) * keyHeads);
    };
  }
}

/** Attention of a local network's vectors or bytes to what is in sight. */
export function crossAttentionOf(
  memory: RowMemory,
  sight: AttentionSlots,
  { hiddenSize, crossAttentionHeads: heads, crossAttentionKvHeads: kvHeads }: LocalConfig,
  most: number,
): RowAttention {
  return new RowAttention(memory, sight, heads, kvHeads, hiddenSize / heads, most);
}
