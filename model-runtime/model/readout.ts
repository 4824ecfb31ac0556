/**
 * The lexicon's readout: states of the layers -> masses of pieces, softmax over those that have bytes, sorted, and EOS.
 *
 * Shapes: M positions read out, E width, S sorted pieces.
 */
import { setImmediate } from "node:timers/promises";
import type { LexiconConfig } from "../checkpoint/lexicon-config";
import type { LexiconCheckpoint } from "../checkpoint/open-lexicon";
import { Graph } from "../graph/graph";
import type { RowMemory } from "../kernels/row-kernels";
import { createSession, type SessionOptions } from "../session";
import type { Int8Kernel } from "./linear";
import { pieceLogits } from "./piece-logits";
import { pieceProduct } from "./piece-product";

export interface Readout {
  /** States [M, E], at most `READOUT_ROWS`, -> masses, [M] of [S + 1]. */
  run(states: Float32Array, count: number, signal?: AbortSignal): Promise<Float32Array[]>;
  release(): Promise<void>;
}

interface Source {
  checkpoint: LexiconCheckpoint;
  int8Kernel: Int8Kernel;
}

/** Rows that are read out at a time at most: 200 kB each. */
export const READOUT_ROWS = 16;

/**
 * By the native kernels where the table is int8 and its products are those of blocks, else by onnxruntime.
 * @param order [S] piece at each place
 */
export async function loadReadout(
  source: Source,
  order: Int32Array,
  memory: RowMemory | null,
  options: SessionOptions,
): Promise<Readout> {
  return nativeReadout(source, order, memory) ?? (await sessionReadout(source, order, options));
}

async function sessionReadout(source: Source, order: Int32Array, options: SessionOptions): Promise<Readout> {
  const width = source.checkpoint.config.latent.hiddenSize;
  const session = await createSession(readoutGraph(source, order), options);
  return {
    async run(states, count, signal) {
      const { masses } = await session.run({ states: { data: states, shape: [count, width] } }, signal);
      if (count === 1) return [masses];
      const size = masses.length / count;
      return Array.from({ length: count }, (_, row) => masses.slice(row * size, (row + 1) * size));
    },
    release: () => session.release(),
  };
}

/** Null where it is onnxruntime's. */
function nativeReadout(
  { checkpoint, int8Kernel }: Source,
  order: Int32Array,
  memory: RowMemory | null,
): Readout | null {
  const pieces = [...order, checkpoint.config.eosPiece];
  const product = pieceProduct(checkpoint, int8Kernel, pieces, memory, READOUT_ROWS);
  if (memory === null || product === null) return null;
  return {
    async run(given, asked, signal) {
      signal?.throwIfAborted();
      // As after any other run, what was received meanwhile is looked at.
      await setImmediate();
      memory.team.begin();
      try {
        memory.floats.set(given, product.states.at / 4);
        product.run(asked);
      } finally {
        memory.team.end();
      }
      return Array.from({ length: asked }, (_, row) => memory.row(product.chances, row, pieces.length).slice());
    },
    async release() {},
  };
}

/**
 * `states` [M, E] -> `masses` [M, S + 1].
 * @param order [S] piece at each place
 */
function readoutGraph(source: Source, order: Int32Array): Graph {
  const context = { ...source, graph: new Graph("readout") };
  const { graph } = context;
  const { latent, eosPiece }: LexiconConfig = source.checkpoint.config;
  const states = graph.input("states", ["M", latent.hiddenSize]);
  const logits = pieceLogits(context, states, [...order, eosPiece]);
  graph.output("masses", graph.node("Softmax", [logits], logits.shape, { attributes: { axis: -1 } }));
  return graph;
}
