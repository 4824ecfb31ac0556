/** Attention by the kernels in WebAssembly, row by row. Shapes as in attention-shape.ts. */
import { VALUE_STRIP } from "../kernels/attention";
import type { JobArgument } from "../kernels/jobs";
import { type Job, type RowMemory, type RowSpan, setArguments } from "../kernels/row-kernels";
import { type AttentionShape, isSmallAttention, type RowAttention, stretchOf } from "./attention-shape";
import type { AttentionSlots } from "./attention-slots";

export class WasmAttention implements RowAttention {
  private readonly jobs: {
    score: Job<JobArgument<"score">>;
    soften: Job<JobArgument<"soften">>;
    sum: Job<JobArgument<"sum">>;
  };
  private readonly scorePlaces: number[];
  private readonly softenPlace: number;
  private readonly sumPlaces: number[];
  private readonly scale: number;

  /** @param most N at most */
  constructor(
    private readonly memory: RowMemory,
    private readonly sight: AttentionSlots,
    private readonly shape: AttentionShape,
    most: number,
  ) {
    const { slots } = sight;
    const { heads, keyHeads, headDim } = shape;
    this.scale = Math.fround(1 / Math.sqrt(headDim));
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

  apply(layer: number, queries: RowSpan, out: RowSpan, count: number): void {
    const { memory, sight, shape } = this;
    const { heads, keyHeads, headDim } = shape;
    const positions = sight.slotsInUse;
    for (let row = 0; row < count; row++)
      memory.kernels.scale(queries.at + row * queries.bytes, heads * headDim, this.scale);
    const isSmall = isSmallAttention(shape, positions, count);
    const stretch = stretchOf(positions, memory.team.threads);
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
}
