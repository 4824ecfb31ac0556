/**
 * What a model says along a text: how surprising each byte was, how sure the model was before it, and where its patches
 * start. n is the number of bytes.
 */
import { encode, VOCABULARY_SIZE } from "../ids";
import { entropyOfLogits } from "../model/entropy";
import { BltSequence } from "../model/sequence";
import type { TextModel, TextState } from "../model/text-state";

export interface Measured {
  /** [n] -log2 p of each byte, by the whole model, all bytes before it as context. */
  bits: Float32Array;
  /** [n] nats: entropy before each byte, of the distribution named by `entropyOf`. */
  entropies: Float32Array;
  /** The entropy model that cuts patches, or the whole model where nothing is cut by entropy. */
  entropyOf: "patcher" | "model";
  /** Byte offsets at which the units of the latent transformer start: 0 first, ascending, below n. */
  starts: Uint32Array;
  /** What these units are. */
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
  const sequence = model.createSequence();
  const bits = new Float32Array(bytes.length);
  const entropies = new Float32Array(bytes.length);
  for (let from = 0; from < bytes.length; from += CHUNK) {
    const to = Math.min(from + CHUNK, bytes.length);
    await turn?.();
    // The last byte is predicted, but predicts nothing.
    const logits = await sequence.append(ids.subarray(from, to), { logits: "all", signal });
    for (let i = from; i < to; i++) {
      const row = logits.subarray((i - from) * VOCABULARY_SIZE, (i - from + 1) * VOCABULARY_SIZE);
      bits[i] = bitsOf(row, ids[i + 1]);
      entropies[i] = entropyOfLogits(row);
    }
    onProgress?.(to);
  }
  const own = patcherEntropies(sequence);
  if (own !== null) entropies.set(own.slice(0, bytes.length));
  const starts = sequence.patchStarts.map((position) => position - 1).filter((at) => at >= 0 && at < bytes.length);
  return {
    bits,
    entropies,
    entropyOf: own === null ? "model" : "patcher",
    starts: Uint32Array.from(starts),
    units: sequence instanceof BltSequence ? "patches" : "pieces",
  };
}

/** Entropies by which a text was cut; null where it was not. */
function patcherEntropies(sequence: TextState): readonly number[] | null {
  return sequence instanceof BltSequence && sequence.patching.mode === "entropy" ? sequence.entropies : null;
}

/** -log2 softmax(logits)[id]. */
function bitsOf(logits: Float32Array, id: number): number {
  let max = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < logits.length; i++) if (logits[i] > max) max = logits[i];
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i] - max);
  return (Math.log(sum) + max - logits[id]) / Math.LN2;
}
