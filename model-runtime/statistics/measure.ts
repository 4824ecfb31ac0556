/**
 * What a model says along a text: how surprising each byte was, how sure the model was before it, and where its patches
 * start. n is the number of bytes.
 */
import { encode, VOCABULARY_SIZE } from "../ids";
import { entropyOfLogits } from "../model/entropy";
import type { TextModel } from "../model/text-state";
import { patchStarts } from "../patching/patch-lengths";
import { usesEntropy } from "../patching/patcher-rule";

export interface Measured {
  /** [n] -log2 p of each byte, by the whole model, all bytes before it as context. */
  bits: Float32Array;
  /** [n] nats: entropy before each byte, of the distribution named by `entropyOf`. */
  entropies: Float32Array;
  /** The entropy model that cuts patches, or the whole model where nothing is cut by entropy. */
  entropyOf: "patcher" | "model";
  /** Byte offsets at which patches start, as overlay and explorer show them: 0 first, ascending, below n. */
  starts: Uint32Array;
  /** `pieces` where the model cuts no patches: those that its latent transformer steps over. */
  units: "patches" | "pieces";
}

export interface MeasureOptions {
  /** Takes effect before the next run of a network. */
  signal?: AbortSignal;
  /** Called with the number of bytes measured so far. */
  onProgress?: (bytes: number) => void;
  /** Awaited before each chunk, so that other work can go first. */
  turn?: () => Promise<void>;
}

/** Ids whose logits are held at a time. */
const CHUNK = 512;

export async function measureText(
  model: TextModel,
  bytes: Uint8Array,
  { signal, onProgress, turn }: MeasureOptions = {},
): Promise<Measured> {
  const ids = encode(bytes);
  const { patching, patcher } = model;
  const sequence = model.createSequence();
  const stream = usesEntropy(patching) ? (patcher?.begin(patching) ?? null) : null;
  const bits = new Float32Array(bytes.length);
  // One more than is given: what follows the last byte, which decides nothing.
  const entropies = new Float32Array(ids.length).fill(Number.NaN);
  for (let from = 0; from < bytes.length; from += CHUNK) {
    const to = Math.min(from + CHUNK, bytes.length);
    await turn?.();
    // The last byte is predicted, but predicts nothing.
    const logits = await sequence.append(ids.subarray(from, to), { logits: "all", signal });
    for (let i = from; i < to; i++) {
      const row = logits.subarray((i - from) * VOCABULARY_SIZE, (i - from + 1) * VOCABULARY_SIZE);
      bits[i] = bitsOf(row, ids[i + 1]);
      if (stream === null) entropies[i] = entropyOfLogits(row);
    }
    if (stream !== null) entropies.set(await stream.next(ids.subarray(from, to), signal), from);
    onProgress?.(to);
  }
  const isCut = stream !== null || !usesEntropy(patching);
  const positions = isCut ? patchStarts(ids, entropies, patching).starts : sequence.patchStarts;
  return {
    bits,
    entropies: entropies.subarray(0, bytes.length),
    entropyOf: stream === null ? "model" : "patcher",
    starts: Uint32Array.from(positions.map((position) => position - 1).filter((at) => at >= 0 && at < bytes.length)),
    units: isCut ? "patches" : "pieces",
  };
}

/** -log2 softmax(logits)[id]. */
function bitsOf(logits: Float32Array, id: number): number {
  let max = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < logits.length; i++) if (logits[i] > max) max = logits[i];
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i] - max);
  return (Math.log(sum) + max - logits[id]) / Math.LN2;
}
