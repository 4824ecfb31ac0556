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
  private readonly softenPlaces: number[];
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
    this.scorePlaces = score.places("queries", "queryBytes", "rows", "keys", "keyScales");
    this.softenPlaces = soften.places("rows", "valueScales");
    this.sumPlaces = sum.places("rows", "values", "out", "outBytes");
    const scratchBytes = 4 * MOST_QUERIES * (slots + headDim);
    const scratch = most > FEW_ROWS ? memory.allocate(memory.team.threads * scratchBytes) : 0;
    const many = { ...shared, ends: sight.ends, tile: this.tile, scratch, scratchBytes };
    this.many = most > FEW_ROWS ? memory.nativeJob("attend", many) : null;
    this.manyPlaces =
      this.many?.places(
        "queries",
        "queryBytes",
        "rows",
        "keys",
        "values",
        "out",
        "outBytes",
        "keyScales",
        "valueScales",
      ) ?? [];
  }

  apply(layer: number, queries: RowSpan, out: RowSpan, count: number): void {
    const { sight, many } = this;
    if (many === null || count <= FEW_ROWS) {
      this.attendFew(layer, queries, out, count);
      return;
    }
    const [keys, values, scales] = [sight.keysOf(layer, 0), sight.valuesOf(layer, 0), sight.scalesOf(layer, 0)];
    const given = [queries.at, queries.bytes, count, keys, values, out.at, out.bytes, scales.keys, scales.values];
    setArguments(many, this.manyPlaces, ...given);
    many.run(this.partsOf(count));
  }

  /** Key heads of tiles. */
  private partsOf(count: number): number {
    return Math.ceil(count / this.tile) * this.shape.keyHeads;
  }

  private attendFew(layer: number, queries: RowSpan, out: RowSpan, count: number): void {
    const { sight, shape, stretches } = this;
    const [keys, values, scales] = [sight.keysOf(layer, 0), sight.valuesOf(layer, 0), sight.scalesOf(layer, 0)];
    const parts = this.partsOf(count);
    // By what may be in sight: what threads share does not change from run to run.
    const isSmall = isSmallAttention(shape, sight.slots, count);
    const { score, soften, sum } = this.few;
    setArguments(score, this.scorePlaces, queries.at, queries.bytes, count, keys, scales.keys);
    score.run(parts * stretches, isSmall);
    setArguments(soften, this.softenPlaces, count, scales.values);
    soften.run(count * shape.heads, isSmall);
    setArguments(sum, this.sumPlaces, count, values, out.at, out.bytes);
    sum.run((parts * shape.headDim) / VALUE_STRIP, isSmall);
  }
}
