/**
 * The lexicon's readout of some pieces by the native kernels: chances of the pieces from states, softmax over them.
 *
 * Shapes: M positions read out, E width, P pieces.
 */
import { type LexiconCheckpoint, pieceEmbeddingName } from "../checkpoint/open-lexicon";
import { readBytes, readTensor, scaleName } from "../checkpoint/tensor-data";
import { BLOCK_INPUTS } from "../kernels/blocks";
import {
  floatBits,
  inGroups,
  NATIVE_ACTIVATION_BYTES,
  OUTPUTS_OF_GROUP,
  packNativeHalves,
} from "../kernels/native-jobs";
import { type RowMemory, type RowSpan, setArguments } from "../kernels/row-kernels";
import type { Int8Kernel } from "./linear";
import { partsOf } from "./product-weights";

/**
 * Pieces whose logits are within so much of the largest are read out exactly, e^-12 of its chance and more. Those of all others, some
 * 0.2 % of the mass, are estimates from half of each weight, 0.3 nats off as a rule: that halves what has to be read of the table.
 */
export const EXACT_NATS = 12;

export interface PieceProduct {
  /** Where states [M, E] are written before a run. */
  states: RowSpan;
  /** Where chances [M, P] lie after it. */
  chances: RowSpan;
  /** Reads out so many states. The team has begun. */
  run(count: number): void;
}

/**
 * Null where it is onnxruntime's: there are no native kernels, the table is not int8, or its products are not those of blocks.
 * @param pieces [P]
 * @param most M at most
 */
export function pieceProduct(
  checkpoint: LexiconCheckpoint,
  int8Kernel: Int8Kernel,
  pieces: readonly number[],
  memory: RowMemory | null,
  most: number,
): PieceProduct | null {
  const width = checkpoint.config.latent.hiddenSize;
  const table = checkpoint.tensors.get(pieceEmbeddingName)!;
  if (!memory?.isNative || int8Kernel !== "blocked" || table.dtype !== "I8" || width % BLOCK_INPUTS !== 0) return null;
  const filled = inGroups(pieces.length);
  if (!memory.reserve(filled * (width + 4 * most + 4) + 2 ** 20)) return null;

  const given = readBytes(table);
  const scales = readTensor(checkpoint.tensors.get(scaleName(pieceEmbeddingName))!);
  const rows = new Int8Array(pieces.length * width);
  const ofPieces = new Float32Array(filled);
  pieces.forEach((piece, place) => {
    rows.set(new Int8Array(given.buffer, given.byteOffset + piece * width, width), place * width);
    ofPieces[place] = scales[piece];
  });

  const xBytes = (width / BLOCK_INPUTS) * NATIVE_ACTIVATION_BYTES;
  const [states, rounded] = [memory.allocateRows(most, width), memory.allocate(most * xBytes)];
  const chances = memory.allocateRows(most, filled);
  const groups = filled / OUTPUTS_OF_GROUP;
  const { parts, groupsOfPart } = partsOf(groups, OUTPUTS_OF_GROUP * width);
  const round = memory.nativeJob("roundBlocks", {
    x: states.at,
    xBytes: states.bytes,
    out: rounded,
    outBytes: xBytes,
    inputs: width,
  });
  memory.expectDense(filled * width);
  const [upper, lower] = [memory.allocate((filled * width) / 2), memory.allocate((filled * width) / 2)];
  const halfOf = (address: number) => memory.bytes(address, (filled * width) / 2);
  packNativeHalves(halfOf(upper), halfOf(lower), rows, width);
  const product = {
    x: rounded,
    xBytes,
    upper,
    scales: memory.place(ofPieces),
    out: chances.at,
    outBytes: chances.bytes,
    blocks: width / BLOCK_INPUTS,
    groups: groupsOfPart,
    allGroups: groups,
  };
  const limits = memory.allocateFloats(most);
  const estimate = memory.nativeJob("estimate", product);
  const limit = memory.nativeJob("limit", {
    x: chances.at,
    xBytes: chances.bytes,
    width: pieces.length,
    margin: floatBits(EXACT_NATS),
    limits,
  });
  const refine = memory.nativeJob("refine", { ...product, lower, limits });
  const [estimateRows, refineRows] = [estimate.places("rows"), refine.places("rows")];
  const softmax = memory.nativeJob("softmax", { x: chances.at, xBytes: chances.bytes, width: pieces.length });
  return {
    states,
    chances,
    run(count) {
      round.run(count, true);
      setArguments(estimate, estimateRows, count);
      estimate.run(parts);
      limit.run(count);
      setArguments(refine, refineRows, count);
      refine.run(parts);
      softmax.run(count);
    },
  };
}
