/** Attention of a few rows by the row kernels. Shapes: N rows, H query heads, K key/value heads, D head width. */
import type { LocalConfig } from "../checkpoint/config";
import { slotsFor, VALUE_STRIP } from "../kernels/attention";
import type { Job, RowMemory, RowSpan } from "../kernels/row-kernels";
import type { AttentionSlots } from "./attention-slots";

/** Positions of a stretch at least, and values that a row attends to: less is not worth waking up for. */
const LEAST_STRETCH = 64;
const LEAST_VALUES = 16384;

export class RowAttention {
  private readonly jobs: { score: Job<"score">; soften: Job<"soften">; sum: Job<"sum"> };
  private readonly scorePlaces: number[];
  private readonly softenPlace: number;
  private readonly sumPlaces: number[];

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
    const shared = {
      scores: memory.allocateFloats(most * heads * slots),
      scoreBytes: 4 * slots,
      factors: memory.allocateFloats(most * heads),
      headBytes: sight.headBytes,
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
    const scale = Math.fround(1 / Math.sqrt(headDim));
    for (let row = 0; row < count; row++) memory.kernels.scale(queries.at + row * queries.bytes, width, scale);
    const isSmall = count * keyHeads * headDim * positions < LEAST_VALUES;
    // Two stretches a thread, so that all threads end at about the same time whatever the number of key heads.
    const stretch = slotsFor(Math.max(LEAST_STRETCH, positions / (2 * memory.team.threads)));
    const stretches = Math.ceil(positions / stretch);
    const { score, soften, sum } = this.jobs;
    const scoreValues = [queries.at, queries.bytes, sight.keysOf(layer, 0), positions, stretches, stretch];
    for (let i = 0; i < scoreValues.length; i++) score.values[this.scorePlaces[i]] = scoreValues[i];
    score.run(count * keyHeads * stretches, isSmall);
    soften.values[this.softenPlace] = positions;
    soften.run(count * heads, isSmall);
    const sumValues = [sight.valuesOf(layer, 0), out.at, out.bytes, positions];
    for (let i = 0; i < sumValues.length; i++) sum.values[this.sumPlaces[i]] = sumValues[i];
    sum.run((count * keyHeads * headDim) / VALUE_STRIP, isSmall);
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
