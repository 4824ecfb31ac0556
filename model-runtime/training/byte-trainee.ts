/**
 * A plain BLT in training: encoder and patcher as they are, run once a row; latent transformer and local decoder learn an
 * adapter from the next byte.
 *
 * Shapes: N bytes of a row, M patches, k vectors a patch, h local width, P parameters.
 */
import type { Checkpoint } from "../checkpoint/checkpoint";
import { BOS, BYTE_OFFSET } from "../ids";
import { Blt } from "../model/blt";
import { HIDDEN_SCORE } from "../model/kv-cache";
import { RotaryTable } from "../model/rotary";
import { createSession, type Feeds, type Session } from "../session";
import { byteGradientGraph, byteTargets, type RowSizes } from "./byte-graphs";
import { layOutParameters, type ParameterLayout } from "./low-rank-parameters";
import type { TraineeOptions } from "./trainee";
import { type Document, type GradientResult, type Row, type RowScore, scoreRows, type Trainee } from "./trainee";

export interface ByteRow extends Row {
  /** BOS and the bytes of a stretch of one document; one more than are read, as the last is only predicted. */
  ids: Uint16Array;
  /** Of each prediction. */
  each: number;
}

export class ByteTrainee implements Trainee<ByteRow> {
  private readonly frozen = new Map<ByteRow, Feeds>();
  private frozenBytes = 0;

  private constructor(
    private readonly model: Blt,
    private readonly options: TraineeOptions,
    private readonly sizes: RowSizes,
    readonly layout: ParameterLayout,
    private readonly session: Session,
    private readonly weights: Feeds,
  ) {}

  static async load(checkpoint: Checkpoint, options: TraineeOptions): Promise<ByteTrainee> {
    const model = await Blt.load(checkpoint, options);
    const shapes = byteTargets(checkpoint, options.layers, options.targets);
    const layout = layOutParameters(shapes, options.rank, options.alpha);
    // Patches of two bytes on average fill a row; where they are shorter, the row takes fewer bytes.
    const sizes = { bytes: options.positions, patches: Math.ceil(options.positions / 2) };
    const { graph, weights } = byteGradientGraph(checkpoint, sizes, layout, options.labelSmoothing);
    const feeds = Object.fromEntries([...weights].map(([name, { data, shape }]) => [name, { data, shape }]));
    return new ByteTrainee(model, options, sizes, layout, await createSession(graph, options), feeds);
  }

  rows(documents: readonly Document[]): ByteRow[] {
    const { bytes: size } = this.sizes;
    return documents.flatMap(({ bytes, weight }) => {
      const rows: ByteRow[] = [];
      for (let from = 0; from < bytes.length; from += size) {
        const part = bytes.subarray(from, from + size);
        const ids = Uint16Array.from([BOS, ...part.map((byte) => byte)], (id, i) => (i === 0 ? BOS : id + BYTE_OFFSET));
        rows.push({
          ids,
          bytes: part.length,
          predictions: part.length,
          weight: weight * part.length,
          each: weight,
        });
      }
      return rows;
    });
  }

  async prepare(): Promise<void> {
    // All 260 ids are candidates, whatever is trained on.
  }

  beginStep(): void {
    // Nothing is drawn at random.
  }

  async gradient(
    row: ByteRow,
    parameters: Float32Array,
    accumulated: Float32Array,
    scale: number,
  ): Promise<GradientResult> {
    const { bytes } = this.sizes;
    const feeds = await this.frozenFeeds(row);
    const read = feeds.targets.data as BigInt64Array;
    const weights = new Float32Array(bytes).fill(row.each * scale, 0, row.predictions);
    const { packed } = await this.session.run({
      ...this.weights,
      ...feeds,
      targets: { data: read, shape: [bytes, 1] },
      weights: { data: weights, shape: [bytes, 1] },
      parameters: { data: parameters, shape: [parameters.length] },
      accumulated: { data: accumulated, shape: [accumulated.length] },
    });
    const [picked, best] = [packed.subarray(1, 1 + bytes), packed.subarray(1 + bytes, 1 + 2 * bytes)];
    return {
      loss: packed[0],
      ...scoreRows(picked, best, (position) => position < row.predictions),
      gradient: packed.subarray(1 + 2 * bytes),
    };
  }

  async score(row: ByteRow, parameters: Float32Array): Promise<RowScore> {
    return this.gradient(row, parameters, new Float32Array(parameters.length), 0);
  }

  async release(): Promise<void> {
    await this.session.release();
    await this.model.release();
  }

  /** What encoder and patcher make of a row, as inputs of the graph; `targets` with it. */
  private async frozenFeeds(row: ByteRow): Promise<Feeds> {
    const kept = this.frozen.get(row);
    if (kept !== undefined) return kept;
    const feeds = await this.encode(row);
    const size = Object.values(feeds).reduce((sum, { data }) => sum + data.byteLength, 0);
    if (this.frozenBytes + size <= this.options.cacheBytes) {
      this.frozen.set(row, feeds);
      this.frozenBytes += size;
    }
    return feeds;
  }

  private async encode(row: ByteRow): Promise<Feeds> {
    const { feeds, count } = await encodeRow(this.model, this.sizes, row.ids);
    [row.predictions, row.bytes, row.weight] = [count, count, row.each * count];
    return feeds;
  }
}

/**
 * What encoder and patcher make of ids, as inputs of the graph of a row, with `targets`; and how many predictions there
 * is room for.
 * @param ids BOS and bytes, the last of which is only predicted
 */
export async function encodeRow(
  model: Blt,
  { bytes, patches }: RowSizes,
  ids: Uint16Array,
): Promise<{ feeds: Feeds; count: number }> {
  const { config } = model;
  const { encoder, latent, decoder, crossAttentionK: k, crossAttentionWindow } = config;
  const sequence = model.createSequence();
  await sequence.append(ids.subarray(0, ids.length - 1), { logits: "none" });
  const { states, output, pooled, closedAfter } = sequence.encoded();
  const closed = Math.min(patches, sequence.patchStarts.length - 1);
  // Bytes whose decoder row would look at a patch beyond the row's room are not predicted.
  const used = closedAfter.findIndex((count) => count > patches);
  const count = used < 0 ? closedAfter.length : used;

  const padded = (data: Float32Array, rows: number, width: number) => {
    const filled = new Float32Array(rows * width);
    filled.set(data.subarray(0, Math.min(data.length, filled.length)));
    return { data: filled, shape: [rows, width] };
  };
  const patchBytes = new Float32Array(patches * k * bytes).fill(HIDDEN_SCORE);
  const starts = sequence.patchStarts;
  for (let patch = 0; patch < patches; patch++)
    for (let vector = 0; vector < k; vector++) {
      const at = (patch * k + vector) * bytes;
      const seen = Math.max(0, patch - crossAttentionWindow.encoder + 1);
      // A patch that is not in use sees one byte, as a softmax over nothing is no number.
      if (patch < closed) patchBytes.fill(0, at + starts[seen], at + Math.min(bytes, starts[patch + 1]));
      else patchBytes[at] = 0;
    }
  const bytePatches = new Float32Array(bytes * patches * k).fill(HIDDEN_SCORE);
  for (let byte = 0; byte < count; byte++) {
    const seen = Math.max(0, closedAfter[byte] - crossAttentionWindow.decoder);
    bytePatches.fill(0, (byte * patches + seen) * k, (byte * patches + closedAfter[byte]) * k);
  }
  const targets = BigInt64Array.from({ length: bytes }, (_, i) => BigInt(i < count ? ids[i + 1] : 0));
  const { hiddenSize } = encoder;
  const feeds = {
    pooled: padded(pooled, patches, hiddenSize),
    patchStates: padded(states, bytes, states.length / closedAfter.length),
    patchBytes: { data: patchBytes, shape: [patches * k, bytes] },
    byteStates: padded(output, bytes, hiddenSize),
    bytePatches: { data: bytePatches, shape: [bytes, patches * k] },
    ...causalFeeds("patch", patches, latent),
    ...causalFeeds("byte", bytes, decoder),
    targets: { data: targets, shape: [bytes, 1] },
  };
  return { feeds, count };
}

/** Rotation and mask of a stack over a whole sequence. */
function causalFeeds(
  name: string,
  rows: number,
  { ropeTheta, headDim, window }: { ropeTheta: number; headDim: number; window: number | null },
): Feeds {
  const { cos, sin } = new RotaryTable(ropeTheta, headDim).slice(0, rows);
  const mask = new Float32Array(rows * rows).fill(HIDDEN_SCORE);
  for (let row = 0; row < rows; row++)
    mask.fill(0, row * rows + (window === null ? 0 : Math.max(0, row - window + 1)), row * rows + row + 1);
  return {
    [`${name}Cos`]: { data: cos, shape: [rows, headDim / 2] },
    [`${name}Sin`]: { data: sin, shape: [rows, headDim / 2] },
    [`${name}Mask`]: { data: mask, shape: [rows, rows] },
  };
}
