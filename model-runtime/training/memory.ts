/** Sizes of a run that fit the machine: how much memory it takes, how many layers the time allows. */
import { availableParallelism, freemem, totalmem } from "node:os";
import type { SessionOptions } from "../session";
import type { Dataset } from "./dataset";
import type { Kit } from "./kit";
import { initialParameters } from "./low-rank-parameters";
import type { Trainee } from "./trainee";

/** How a model is trained. */
export interface Shape {
  /** Of the latent transformer, the last ones that are trained. */
  layers: number;
  /** Of a row. */
  positions: number;
}

export interface FittingOptions extends SessionOptions {
  rank: number;
  alpha: number;
  targets: readonly string[];
  layers: number | null;
  labelSmoothing: number;
}

/** Memory for what the frozen layers made of the rows, bytes. */
const CACHE_BYTES = 400e6;
/** Beyond this many layers their values are computed anew on the way back. */
const MOST_LAYERS_HELD = 8;
/** Of a row, even when memory is short. */
const LEAST_POSITIONS = 128;
/** Times the training text should be seen. */
const WANTED_EPOCHS = 2;

/** Bytes a run of the default model takes, estimated from a few runs at 8 layers: a start, and a share a layer. */
export function estimatedBytes({ layers, positions }: Shape): number {
  const held = Math.min(layers, MOST_LAYERS_HELD);
  const share = positions / 512;
  return 480e6 + layers * 14e6 + held * (28e6 * share + 22e6 * share * share) + CACHE_BYTES * 0.5;
}

/** Bytes of text from which the default model learns in a minute, estimated from a few runs on two cores. */
export function estimatedBytesPerMinute(): number {
  return 18_000 * Math.min(4, availableParallelism());
}

/** Memory that a process may still take, bytes. */
export function availableBytes(): number {
  // macOS counts what it could free at once as taken.
  if (process.platform === "darwin") return Math.max(freemem(), totalmem() / 3);
  // A container's limit, where there is one.
  const limit = process.constrainedMemory();
  return limit > 0 && limit < totalmem() ? Math.min(freemem(), limit - process.memoryUsage().rss) : freemem();
}

/** Whether an error says that memory ran out. */
export function isOutOfMemory(error: unknown): boolean {
  const message = error instanceof Error ? error.message : String(error);
  return /bad_alloc|failed to allocate|out of memory|allocation failed|ENOMEM/i.test(message);
}

/**
 * Loads the model for training with the most layers that the time allows (by a short measurement) in rows as large as the
 * memory allows; says so when they are smaller than usual.
 * @param earlier the shape of the run that goes on; null for a new one
 */
export async function loadFitting(
  kit: Kit,
  options: FittingOptions,
  dataset: Dataset,
  seconds: number,
  earlier: Shape | null,
  notice: (sentence: string) => void,
  available = availableBytes(),
): Promise<{ trainee: Trainee; shape: Shape }> {
  let shape: Shape = earlier ?? { ...kit.defaults, layers: options.layers ?? kit.defaults.layers };
  while (shape.positions > LEAST_POSITIONS && estimatedBytes(shape) > available) shape = smaller(shape);
  let isMeasured = earlier !== null || options.layers !== null || kit.latentLayers <= kit.defaults.layers;
  for (;;) {
    let trainee: Trainee | null = null;
    try {
      trainee = await kit.trainee(traineeOptions(options, shape));
      const rows = trainee.rows(dataset.train);
      await trainee.prepare(rows);
      const layers = isMeasured ? shape.layers : await affordableLayers(trainee, rows, shape, kit, seconds);
      isMeasured = true;
      if (layers === shape.layers) {
        if (shape.positions < kit.defaults.positions)
          notice(`Memory is short: training in smaller batches of ${shape.positions} positions.`);
        return { trainee, shape };
      }
      await trainee.release();
      shape = { ...shape, layers };
    } catch (error) {
      if (!isOutOfMemory(error) || shape.positions <= LEAST_POSITIONS) throw error;
      await trainee?.release();
      shape = smaller(shape);
    }
  }
}

function traineeOptions(options: FittingOptions, { layers, positions }: Shape) {
  const { device, threads, rank, alpha, targets, labelSmoothing } = options;
  const checkpointLayers = layers > MOST_LAYERS_HELD;
  return {
    device,
    threads,
    rank,
    alpha,
    targets,
    labelSmoothing,
    layers,
    positions,
    checkpointLayers,
    cacheBytes: CACHE_BYTES,
  };
}

function smaller({ layers, positions }: Shape): Shape {
  return { layers, positions: positions / 2 };
}

/** Layers for which the text is seen often enough in the time, from the time of two gradients. */
async function affordableLayers(
  trainee: Trainee,
  rows: ReturnType<Trainee["rows"]>,
  shape: Shape,
  kit: Kit,
  seconds: number,
): Promise<number> {
  const parameters = initialParameters(trainee.layout, () => 0.5);
  trainee.beginStep(() => 0.5);
  const time = async () => {
    const began = performance.now();
    await trainee.gradient(rows[0], parameters, new Float32Array(parameters.length), 1);
    return (performance.now() - began) / 1000;
  };
  // The first one runs the frozen layers, too, which later epochs find done.
  const first = await time();
  const later = Math.min(await time(), await time());
  const frozen = Math.max(0, first - later);
  const choices = [4, 6, 8, 12, 16].filter((layers) => layers <= kit.latentLayers);
  // A tenth of the time goes into scores; half of a gradient's is the readout's when 8 layers are trained.
  const timeOf = (layers: number) => frozen + WANTED_EPOCHS * later * (0.25 + (0.75 * layers) / shape.layers);
  const affordable = choices.filter((layers) => rows.length * timeOf(layers) <= 0.9 * seconds);
  return affordable.at(-1) ?? choices[0];
}
