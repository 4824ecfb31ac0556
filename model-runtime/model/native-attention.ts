/** Attention by the native kernels, of rows by tiles that share what they read. Shapes as in attention-shape.ts. */
import { VALUE_STRIP } from "../kernels/attention";
import { floatBits, MOST_QUERIES, type NativeJobArgument } from "../kernels/native-jobs";
import { type Job, type RowMemory, type RowSpan, setArguments } from "../kernels/row-kernels";
import { type AttentionShape, isSmallAttention, mostStretches, type RowAttention } from "./attention-shape";
import type { AttentionSlots } from "./attention-slots";

/**
 * Rows whose scores lie beside each other in memory, so that threads share a tile; of more, each tile is one thread's, whose scores stay
 * in its cache.
 */
const FEW_ROWS = 12;

export class NativeAttention implements RowAttention {
  private readonly few: {
    score: Job<NativeJobArgument<"score">>;
    soften: Job<NativeJobArgument<"soften">>;
    sum: Job<NativeJobArgument<"sum">>;
  };
  private readonly scorePlaces: number[];
  private readonly softenPlace: number;
  private readonly sumPlaces: number[];
  private readonly many: Job<NativeJobArgument<"attend">> | null;
  private readonly manyPlaces: number[];
  /** Rows of a tile. */
  private readonly tile: number;
  private readonly stretches: number;

  /** @param most N at most */
  constructor(
    memory: RowMemory,
    private readonly sight: AttentionSlots,
    private readonly shape: AttentionShape,
    most: number,
  ) {
    const { slots, headBytes, numberBytes, mask } = sight;
    this.stretches = mostStretches(memory.team.threads);
    const { heads, keyHeads, headDim } = shape;
    const together = heads / keyHeads;
    this.tile = Math.max(1, Math.floor(MOST_QUERIES / together));
    const scale = floatBits(1 / Math.sqrt(headDim));
    const shared = { headBytes, numberBytes, mask, maskBytes: 4 * slots, keyHeads, together, headDim, slots, scale };
    const few = {
      ...shared,
      tile: this.tile,
      sight: sight.sight,
      stretches: this.stretches,
      scores: memory.allocateFloats(Math.min(most, FEW_ROWS) * heads * slots),
      factors: memory.allocateFloats(Math.min(most, FEW_ROWS) * heads),
    };
    this.few = {
      score: memory.nativeJob("score", few),
      soften: memory.nativeJob("soften", few),
      sum: memory.nativeJob("sum", few),
    };
    const { score, soften, sum } = this.few;
    this.scorePlaces = score.places("queries", "queryBytes", "rows", "keys");
    [this.softenPlace] = soften.places("rows");
    this.sumPlaces = sum.places("rows", "values", "out", "outBytes");
    const scratchBytes = 4 * MOST_QUERIES * (slots + headDim);
    const scratch = most > FEW_ROWS ? memory.allocate(memory.team.threads * scratchBytes) : 0;
    const many = { ...shared, ends: sight.ends, tile: this.tile, scratch, scratchBytes };
    this.many = most > FEW_ROWS ? memory.nativeJob("attend", many) : null;
    this.manyPlaces = this.many?.places("queries", "queryBytes", "rows", "keys", "values", "out", "outBytes") ?? [];
  }

  apply(layer: number, queries: RowSpan, out: RowSpan, count: number): void {
    const { sight, many } = this;
    const [keys, values] = [sight.keysOf(layer, 0), sight.valuesOf(layer, 0)];
    const parts = Math.ceil(count / this.tile) * this.shape.keyHeads;
    if (many === null || count <= FEW_ROWS) {
      this.attendFew(keys, values, queries, out, count, parts);
      return;
    }
    setArguments(many, this.manyPlaces, queries.at, queries.bytes, count, keys, values, out.at, out.bytes);
    many.run(parts);
  }

  /** @param parts key heads of tiles */
  private attendFew(keys: number, values: number, queries: RowSpan, out: RowSpan, count: number, parts: number): void {
    const { shape, stretches } = this;
    // By what may be in sight: what threads share does not change from run to run.
    const isSmall = isSmallAttention(shape, this.sight.slots, count);
    const { score, soften, sum } = this.few;
    setArguments(score, this.scorePlaces, queries.at, queries.bytes, count, keys);
    score.run(parts * stretches, isSmall);
    soften.values[this.softenPlace] = count;
    soften.run(count * shape.heads, isSmall);
    setArguments(sum, this.sumPlaces, count, values, out.at, out.bytes);
    sum.run((parts * shape.headDim) / VALUE_STRIP, isSmall);
  }
}
