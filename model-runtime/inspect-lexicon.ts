/** What a checkpoint with a lexicon is made of and what it costs; a patch is a piece, one step of its latent transformer. */
import { patcherPrefix } from "./checkpoint/expected-tensors";
import { drafterPrefix, expectedLexiconTensors, type LexiconCheckpoint } from "./checkpoint/open-lexicon";
import { blockProducts, bytesByType, cacheRow, countedByPart, float32Bytes, type Inspection } from "./inspect";

export type LexiconPart = "patcher" | "lexicon" | "latentTransformer" | "drafter";

/**
 * The steps of the open word's other readings, and those that refresh it, are not counted: how many there are the text decides.
 *
 * @param meanPieceLength bytes a piece, by which the cost of a piece is spread over its bytes
 */
export function inspectLexicon(checkpoint: LexiconCheckpoint, meanPieceLength: number): Inspection<LexiconPart> {
  const { patcher, latent, pieces, readoutMatrix } = checkpoint.config;
  const width = latent.hiddenSize;
  const perByte = patcher === null ? 0 : 2 * (blockProducts(patcher) + 260 * patcher.hiddenSize);
  const perPatch = 2 * (blockProducts(latent) + (readoutMatrix ? width * width : 0) + pieces * width);
  const parts = { patcher: 0, lexicon: 0, latentTransformer: 0, drafter: 0 };
  return {
    parameters: countedByPart(parts, expectedLexiconTensors(checkpoint.config), partOf),
    weightBytes: bytesByType(checkpoint.tensors.values()),
    textMemory: {
      atStart: patcher === null ? 0 : (patcher.window ?? 0) * cacheRow(patcher),
      perByte: patcher !== null && patcher.window === null ? cacheRow(patcher) : 0,
      perPatch: cacheRow(latent) + width * float32Bytes,
    },
    flops: {
      perByte,
      perPatch,
      perByteInAll: perByte + perPatch / meanPieceLength,
      meanPatchLength: meanPieceLength,
    },
  };
}

function partOf(name: string): LexiconPart {
  if (name.startsWith(patcherPrefix)) return "patcher";
  if (name.startsWith(drafterPrefix)) return "drafter";
  return name.startsWith("model.global_transformer.") ? "latentTransformer" : "lexicon";
}
