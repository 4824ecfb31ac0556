/**
 * The lexicon's readout of some pieces by the native kernels: chances of the pieces from states, softmax over them.
 *
 * Shapes: M positions read out, E width, P pieces.
 */
import { type LexiconCheckpoint, pieceEmbeddingName } from "../checkpoint/open-lexicon";
import { readBytes, readTensor, scaleName } from "../checkpoint/tensor-data";
import { BLOCK_INPUTS } from "../kernels/blocks";
import { inGroups, NATIVE_ACTIVATION_BYTES, OUTPUTS_OF_GROUP } from "../kernels/native-jobs";
import { type RowMemory, type RowSpan, setArguments } from "../kernels/row-kernels";
import type { Int8Kernel } from "./linear";
import { placeNativeIntegers } from "./native-products";
import { partsOf } from "./product-weights";

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

  memory.expectDense(filled * width);
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
  const multiply = memory.nativeJob("multiplyMixed", {
    x: rounded,
    xBytes,
    weights: placeNativeIntegers(memory, rows, width),
    scales: memory.place(ofPieces),
    out: chances.at,
    outBytes: chances.bytes,
    blocks: width / BLOCK_INPUTS,
    groups: groupsOfPart,
    allGroups: groups,
  });
  const rowsPlace = multiply.places("rows");
  const softmax = memory.nativeJob("softmax", { x: chances.at, xBytes: chances.bytes, width: pieces.length });
  return {
    states,
    chances,
    run(count) {
      round.run(count, true);
      setArguments(multiply, rowsPlace, count);
      multiply.run(parts);
      softmax.run(count);
    },
  };
}
