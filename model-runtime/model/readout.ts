/**
 * The lexicon's readout: states of the layers -> masses of pieces, softmax over those that have bytes, sorted, and EOS.
 *
 * Shapes: M positions read out, E width, S sorted pieces.
 */
import { setImmediate } from "node:timers/promises";
import type { LexiconConfig } from "../checkpoint/lexicon-config";
import { type LexiconCheckpoint, pieceEmbeddingName } from "../checkpoint/open-lexicon";
import { readBytes, readTensor, scaleName } from "../checkpoint/tensor-data";
import { Graph } from "../graph/graph";
import { BLOCK_INPUTS } from "../kernels/blocks";
import { inGroups, NATIVE_ACTIVATION_BYTES, OUTPUTS_OF_GROUP, packNativeIntegers } from "../kernels/native-jobs";
import { type RowMemory, setArguments } from "../kernels/row-kernels";
import { createSession, type SessionOptions } from "../session";
import type { Int8Kernel } from "./linear";
import { pieceLogits } from "./piece-logits";
import { partsOf } from "./product-weights";

export interface Readout {
  /** States [M, E], at most `READOUT_ROWS`, -> masses [M, S + 1]. */
  run(states: Float32Array, count: number, signal?: AbortSignal): Promise<Float32Array>;
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
      return masses;
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
  const { latent, eosPiece } = checkpoint.config;
  const width = latent.hiddenSize;
  const table = checkpoint.tensors.get(pieceEmbeddingName)!;
  if (!memory?.isNative || int8Kernel !== "blocked" || table.dtype !== "I8" || width % BLOCK_INPUTS !== 0) return null;
  const outputs = order.length + 1;
  const filled = inGroups(outputs);
  if (!memory.reserve(filled * (width + 4 * READOUT_ROWS + 4) + 2 ** 20)) return null;

  memory.expectDense(filled * width);
  const given = readBytes(table);
  const scales = readTensor(checkpoint.tensors.get(scaleName(pieceEmbeddingName))!);
  const pieces = [...order, eosPiece];
  const rows = new Int8Array(outputs * width);
  const sorted = new Float32Array(filled);
  pieces.forEach((piece, place) => {
    rows.set(new Int8Array(given.buffer, given.byteOffset + piece * width, width), place * width);
    sorted[place] = scales[piece];
  });

  const xBytes = (width / BLOCK_INPUTS) * NATIVE_ACTIVATION_BYTES;
  const [states, rounded] = [memory.allocateRows(READOUT_ROWS, width), memory.allocate(READOUT_ROWS * xBytes)];
  const made = memory.allocateRows(READOUT_ROWS, filled);
  const groups = filled / OUTPUTS_OF_GROUP;
  const { parts, groupsOfPart } = partsOf(groups, OUTPUTS_OF_GROUP * width);
  const round = memory.nativeJob("roundBlocks", {
    x: states.at,
    xBytes: states.bytes,
    out: rounded,
    outBytes: xBytes,
    inputs: width,
  });
  const multiply = memory.nativeJob("multiplyMixed", {
    x: rounded,
    xBytes,
    weights: memory.place(packNativeIntegers(rows, width)),
    scales: memory.place(sorted),
    out: made.at,
    outBytes: made.bytes,
    blocks: width / BLOCK_INPUTS,
    groups: groupsOfPart,
    allGroups: groups,
  });
  const count = multiply.places("rows");
  const softmax = memory.nativeJob("softmax", { x: made.at, xBytes: made.bytes, width: outputs });
  return {
    async run(given, asked, signal) {
      signal?.throwIfAborted();
      // As after any other run, what was received meanwhile is looked at.
      await setImmediate();
      memory.team.begin();
      try {
        memory.floats.set(given, states.at / 4);
        round.run(asked, true);
        setArguments(multiply, count, asked);
        multiply.run(parts);
        softmax.run(asked);
      } finally {
        memory.team.end();
      }
      const masses = new Float32Array(asked * outputs);
      for (let row = 0; row < asked; row++) masses.set(memory.row(made, row, outputs), row * outputs);
      return masses;
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
