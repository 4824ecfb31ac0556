/**
 * A lexicon model in training: the lower layers are frozen and run once a row, their results kept; the upper ones learn
 * an adapter from the next piece of the canonical cut.
 *
 * Shapes: T positions of a row, E width, S candidates, P parameters.
 */
import { type LexiconCheckpoint, pieceEmbeddingName, readVocabulary } from "../checkpoint/open-lexicon";
import { RowReader } from "../checkpoint/row-reader";
import { scaleName } from "../checkpoint/tensor-data";
import { Lexicon } from "../lexicon/pieces";
import type { Int8Kernel } from "../model/linear";
import { RotaryTable } from "../model/rotary";
import { createSession, type Feeds, type Session } from "../session";
import type { FloatWeight } from "./float-weights";
import type { ParameterLayout } from "./low-rank-parameters";
import { layOutParameters } from "./low-rank-parameters";
import { type FedGraph, frozenGraph, gradientGraph, pieceTargets, scoreGraph, statesGraph } from "./piece-graphs";
import { layOutRows, type PieceRow, sequenceFeeds } from "./piece-rows";
import {
  type Document,
  type GradientResult,
  type RowScore,
  scoreRows,
  type Trainee,
  type TraineeOptions,
} from "./trainee";

export interface PieceTraineeOptions extends TraineeOptions {
  int8Kernel?: Int8Kernel;
}

/** Pieces drawn anew for each step to stand for all that do not occur in the training text. */
const SAMPLED_PIECES = 2048;
/** Rows of the readout's product in one run; each takes 200 kB. */
const SCORED_AT_ONCE = 128;

export class PieceTrainee implements Trainee<PieceRow> {
  private readonly known = new Map<string, FloatWeight>();
  private readonly frozen = new Map<PieceRow, Float32Array>();
  private frozenBytes = 0;
  private trained: { session: Session; weights: Feeds; candidates: Candidates } | null = null;
  private readonly rotary: RotaryTable;

  private constructor(
    private readonly checkpoint: LexiconCheckpoint,
    private readonly options: PieceTraineeOptions,
    readonly layout: ParameterLayout,
    private readonly lexicon: Lexicon,
    private readonly embedding: RowReader,
    private readonly sessions: { frozen: Session; states: Session; score: Session },
    private readonly statesWeights: Feeds,
  ) {
    const { ropeTheta, headDim } = checkpoint.config.latent;
    this.rotary = new RotaryTable(ropeTheta, headDim);
  }

  static async load(checkpoint: LexiconCheckpoint, options: PieceTraineeOptions): Promise<PieceTrainee> {
    const { latent } = checkpoint.config;
    const firstTrained = latent.layers - options.layers;
    const shapes = pieceTargets(checkpoint, firstTrained, (kind) => options.targets.includes(kind));
    const layout = layOutParameters(shapes, options.rank, options.alpha);
    const source = { checkpoint, int8Kernel: options.int8Kernel ?? ("blocked" as const) };
    const scales = checkpoint.tensors.get(scaleName(pieceEmbeddingName)) ?? null;
    const embedding = new RowReader({ ...checkpoint.tensors.get(pieceEmbeddingName)!, scales });
    const known = new Map<string, FloatWeight>();
    const states = statesGraph(checkpoint, { firstTrained, layout, positions: options.positions, known });
    const sessions = {
      frozen: await createSession(frozenGraph(source, firstTrained), options),
      states: await createSession(states.graph, options),
      score: await createSession(scoreGraph(source), options),
    };
    const lexicon = new Lexicon(readVocabulary(checkpoint));
    const trainee = new PieceTrainee(checkpoint, options, layout, lexicon, embedding, sessions, feedsOf(states));
    for (const [name, weight] of known) trainee.known.set(name, weight);
    return trainee;
  }

  rows(documents: readonly Document[]): PieceRow[] {
    return layOutRows(documents, this.lexicon, this.checkpoint.config, this.options.positions);
  }

  async prepare(rows: readonly PieceRow[]): Promise<void> {
    await this.trained?.session.release();
    const { latent } = this.checkpoint.config;
    const candidates = new Candidates(rows, this.checkpoint, this.lexicon, this.embedding);
    const fed = gradientGraph(this.checkpoint, candidates.count, this.options.labelSmoothing, {
      firstTrained: latent.layers - this.options.layers,
      layout: this.layout,
      positions: this.options.positions,
      known: this.known,
      checkpointLayers: this.options.checkpointLayers,
    });
    this.trained = { session: await createSession(fed.graph, this.options), weights: feedsOf(fed), candidates };
  }

  /** S of the rows that it was prepared for. */
  get candidateCount(): number {
    return this.trained!.candidates.count;
  }

  beginStep(random: () => number): void {
    this.trained!.candidates.draw(random);
  }

  async gradient(
    row: PieceRow,
    parameters: Float32Array,
    accumulated: Float32Array,
    scale: number,
  ): Promise<GradientResult> {
    const { session, weights, candidates } = this.trained!;
    const { positions } = this.options;
    const { packed } = await session.run({
      ...weights,
      ...(await this.rowFeeds(row, parameters)),
      ...candidates.feeds(row),
      weights: { data: row.weights.map((weight) => weight * scale), shape: [positions, 1] },
      accumulated: { data: accumulated, shape: [accumulated.length] },
    });
    const [picked, best] = [packed.subarray(1, 1 + positions), packed.subarray(1 + positions, 1 + 2 * positions)];
    return {
      loss: packed[0],
      ...scoreRows(picked, best, (position) => row.targets[position] >= 0),
      gradient: packed.subarray(1 + 2 * positions),
    };
  }

  async score(row: PieceRow, parameters: Float32Array): Promise<RowScore> {
    const { states } = await this.sessions.states.run({
      ...this.statesWeights,
      ...(await this.rowFeeds(row, parameters)),
    });
    const { positions } = this.options;
    const width = this.checkpoint.config.latent.hiddenSize;
    const [picked, best] = [new Float32Array(positions), new Float32Array(positions)];
    const used = row.targets.findLastIndex((target) => target >= 0) + 1;
    for (let from = 0; from < used; from += SCORED_AT_ONCE) {
      const count = Math.min(SCORED_AT_ONCE, used - from);
      const targets = BigInt64Array.from({ length: count }, (_, i) => BigInt(Math.max(0, row.targets[from + i])));
      const { scores } = await this.sessions.score.run({
        states: { data: states.subarray(from * width, (from + count) * width), shape: [count, width] },
        targets: { data: targets, shape: [count, 1] },
      });
      for (let i = 0; i < count; i++) [picked[from + i], best[from + i]] = [scores[2 * i], scores[2 * i + 1]];
    }
    return scoreRows(picked, best, (position) => row.targets[position] >= 0);
  }

  async release(): Promise<void> {
    await this.trained?.session.release();
    for (const session of Object.values(this.sessions)) await session.release();
    this.embedding.close();
  }

  private async rowFeeds(row: PieceRow, parameters: Float32Array): Promise<Feeds> {
    const { hiddenSize, headDim } = this.checkpoint.config.latent;
    const sequence = sequenceFeeds(row, this.rotary, headDim);
    return {
      ...sequence,
      hidden: { data: await this.frozenStates(row, sequence), shape: [row.pieces.length, hiddenSize] },
      parameters: { data: parameters, shape: [parameters.length] },
    };
  }

  /** What the frozen layers make of a row: [T, E]. */
  private async frozenStates(row: PieceRow, sequence: Feeds): Promise<Float32Array> {
    const kept = this.frozen.get(row);
    if (kept !== undefined) return kept;
    const width = this.checkpoint.config.latent.hiddenSize;
    const embedding = new Float32Array(row.pieces.length * width);
    row.pieces.forEach((piece, position) => {
      this.embedding.readRow(piece, embedding, position * width);
    });
    const feeds = { ...sequence, embedding: { data: embedding, shape: [row.pieces.length, width] } };
    const { hidden } = await this.sessions.frozen.run(feeds);
    if (this.frozenBytes + hidden.byteLength <= this.options.cacheBytes) {
      // A copy, because the result is memory of onnxruntime, which counts it as its own.
      this.frozen.set(row, hidden.slice());
      this.frozenBytes += hidden.byteLength;
    }
    return hidden;
  }
}

/**
 * The pieces among which a step's loss chooses: all that occur in the training text, and a fresh draw of the others, each
 * of which stands for as many as were not drawn (its logit is raised by the log of that), so that the sum of the softmax
 * is right on average (sampled softmax, arXiv 1412.2007). Scores are always taken over all pieces.
 */
class Candidates {
  /** S */
  readonly count: number;
  private readonly placeOf = new Map<number, number>();
  private readonly others: number[];
  private readonly sampled: number;
  private readonly rows: Float32Array;
  private readonly offsets: Float32Array;

  constructor(
    rows: readonly PieceRow[],
    { config }: LexiconCheckpoint,
    lexicon: Lexicon,
    private readonly embedding: RowReader,
  ) {
    for (const { targets } of rows)
      for (const target of targets)
        if (target >= 0 && !this.placeOf.has(target)) this.placeOf.set(target, this.placeOf.size);
    const isReadable = (piece: number) => lexicon.pieces[piece] !== null || piece === config.eosPiece;
    this.others = Array.from({ length: config.pieces }, (_, piece) => piece).filter(
      (piece) => isReadable(piece) && !this.placeOf.has(piece),
    );
    this.sampled = Math.min(SAMPLED_PIECES, this.others.length);
    this.count = this.placeOf.size + this.sampled;
    this.rows = new Float32Array(this.count * embedding.columns);
    for (const [piece, place] of this.placeOf) embedding.readRow(piece, this.rows, place * embedding.columns);
    this.offsets = new Float32Array(this.count).fill(Math.log(this.others.length / this.sampled), this.placeOf.size);
  }

  draw(random: () => number): void {
    const { others, sampled, placeOf, embedding } = this;
    for (let i = 0; i < sampled; i++) {
      const chosen = i + Math.floor(random() * (others.length - i));
      [others[i], others[chosen]] = [others[chosen], others[i]];
      embedding.readRow(others[i], this.rows, (placeOf.size + i) * embedding.columns);
    }
  }

  feeds({ targets }: PieceRow): Feeds {
    const places = BigInt64Array.from(targets, (target) => BigInt(target < 0 ? 0 : this.placeOf.get(target)!));
    return {
      readout: { data: this.rows, shape: [this.count, this.embedding.columns] },
      offsets: { data: this.offsets, shape: [this.count] },
      targets: { data: places, shape: [targets.length, 1] },
    };
  }
}

function feedsOf({ weights }: FedGraph): Feeds {
  return Object.fromEntries([...weights].map(([name, { data, shape }]) => [name, { data, shape }]));
}
