/**
 * Bits per byte of texts: each text whole, BOS first, every byte predicted with all bytes before it as context. Only
 * bytes are scored, not the end of the text; probabilities are those among all 260 ids.
 */
import type { PatchingConfig } from "./checkpoint/config";
import { encode, VOCABULARY_SIZE } from "./ids";
import type { TextModel } from "./model/text-state";

/** What was measured on one text. */
export interface TextScore {
  bytes: number;
  /** Sum of -log2 p of the bytes. */
  bits: number;
  /** Bytes that were the most probable id. */
  correct: number;
  /** Patches the bytes lie in. */
  patches: number;
}

/** What was measured on all texts together. */
export interface Evaluation {
  bytes: number;
  /** Bits per byte. */
  bpb: number;
  /** Share of bytes that were the most probable id. */
  accuracy: number;
  /** Of a byte: 2 ** bpb. */
  perplexity: number;
  /** Bytes a patch. */
  meanPatchLength: number;
}

export interface EvaluateOptions {
  /** Default: the checkpoint's. */
  patching?: PatchingConfig;
  /** Takes effect before the next run of a network. */
  signal?: AbortSignal;
  /** Called with the number of bytes scored so far. */
  onProgress?: (bytes: number) => void;
}

/** Ids whose logits are held at a time. */
const CHUNK = 512;

export async function scoreText(
  model: TextModel,
  bytes: Uint8Array,
  options: EvaluateOptions = {},
): Promise<TextScore> {
  const { patching, signal, onProgress } = options;
  const ids = encode(bytes);
  const sequence = model.createSequence(patching);
  let bits = 0;
  let correct = 0;
  // The last byte is predicted, but predicts nothing.
  for (let from = 0; from < bytes.length; from += CHUNK) {
    const to = Math.min(from + CHUNK, bytes.length);
    const logits = await sequence.append(ids.subarray(from, to), { logits: "all", signal });
    for (let i = from; i < to; i++) {
      const row = logits.subarray((i - from) * VOCABULARY_SIZE, (i - from + 1) * VOCABULARY_SIZE);
      const score = scoreRow(row, ids[i + 1]);
      bits += score.bits;
      if (score.correct) correct++;
    }
    onProgress?.(to);
  }
  // The patch of BOS holds no byte; the rule has said of the last byte, too, whether it starts a patch.
  return { bytes: bytes.length, bits, correct, patches: Math.max(0, sequence.patchStarts.length - 1) };
}

export function summarizeScores(scores: readonly TextScore[]): Evaluation {
  const sum = (of: (score: TextScore) => number) => scores.reduce((total, score) => total + of(score), 0);
  const bytes = sum((score) => score.bytes);
  const bpb = sum((score) => score.bits) / bytes;
  return {
    bytes,
    bpb,
    accuracy: sum((score) => score.correct) / bytes,
    perplexity: 2 ** bpb,
    meanPatchLength: bytes / sum((score) => score.patches),
  };
}

/** -log2 softmax(logits)[id], and whether `id` is the first of the most probable ids. */
function scoreRow(logits: Float32Array, id: number): { bits: number; correct: boolean } {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i] > logits[best]) best = i;
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i] - logits[best]);
  return { bits: (Math.log(sum) + logits[best] - logits[id]) / Math.LN2, correct: best === id };
}
