/** Scores of whole documents by the model as it is used, with or without an adapter: what the verdict is made of. */
import type { LexiconCheckpoint } from "../checkpoint/open-lexicon";
import { pieceEmbeddingName, readVocabulary } from "../checkpoint/open-lexicon";
import { RowReader } from "../checkpoint/row-reader";
import { scaleName } from "../checkpoint/tensor-data";
import { BYTE_OFFSET, encode, VOCABULARY_SIZE } from "../ids";
import { Lexicon } from "../lexicon/pieces";
import { CausalNetwork } from "../model/causal-network";
import { appliedAdapter, type LowRank } from "../model/low-rank";
import { pieceLatentGraph } from "../model/piece-latent";
import type { TextModel } from "../model/text-state";
import { createSession, type SessionOptions } from "../session";
import { scoreGraph } from "./piece-graphs";

/** One prediction: a piece of the canonical cut, or a byte. */
export interface Prediction {
  /** First byte and number of bytes. */
  offset: number;
  length: number;
  nats: number;
  /** Whether it was the most probable. */
  isBest: boolean;
}

export interface DocumentScorer {
  /** Each prediction with all that is before it as context (as much as the model takes). */
  score(bytes: Uint8Array, signal?: AbortSignal): Promise<Prediction[]>;
  release(): Promise<void>;
}

/** Positions of one run. */
const CHUNK = 128;

/**
 * Scores by the next piece of the canonical cut: the sum of the nats is an upper bound of the bytes' own, since a text's
 * probability is that of all its cuts, and it is hundreds of times faster to have.
 */
export async function pieceScorer(
  checkpoint: LexiconCheckpoint,
  lowRank: LowRank | null,
  options: SessionOptions,
): Promise<DocumentScorer> {
  const { latent, bosPiece, maxPositions } = checkpoint.config;
  const source = { checkpoint, int8Kernel: options.device === "cpu" ? ("blocked" as const) : ("float32" as const) };
  const adapter = lowRank === null ? undefined : appliedAdapter(lowRank, checkpoint);
  const layers = await CausalNetwork.load(() => pieceLatentGraph({ ...source, adapter }), latent, options);
  const readout = await createSession(scoreGraph(source), options);
  const scales = checkpoint.tensors.get(scaleName(pieceEmbeddingName)) ?? null;
  const embedding = new RowReader({ ...checkpoint.tensors.get(pieceEmbeddingName)!, scales });
  const lexicon = new Lexicon(readVocabulary(checkpoint));
  const width = latent.hiddenSize;
  return {
    async score(bytes, signal) {
      const { pieces, starts } = lexicon.cut(bytes);
      const predictions: Prediction[] = [];
      let cache = layers.createCache();
      for (let from = 0; from < pieces.length; from += CHUNK) {
        // A document longer than the context goes on in a new one.
        if (cache.length + CHUNK > maxPositions) cache = layers.createCache();
        const count = Math.min(CHUNK, pieces.length - from);
        const rows = new Float32Array(count * width);
        for (let i = 0; i < count; i++)
          embedding.readRow(from + i === 0 ? bosPiece : pieces[from + i - 1], rows, i * width);
        const inputs = { embedding: { data: rows, shape: [count, width] } };
        const { data } = await layers.run(cache, count, inputs, null, signal);
        const targets = BigInt64Array.from({ length: count }, (_, i) => BigInt(pieces[from + i]));
        const { scores } = await readout.run(
          { states: { data, shape: [count, width] }, targets: { data: targets, shape: [count, 1] } },
          signal,
        );
        for (let i = 0; i < count; i++)
          predictions.push({
            offset: starts[from + i],
            length: lexicon.pieces[pieces[from + i]]!.length,
            nats: -scores[2 * i],
            isBest: scores[2 * i] === scores[2 * i + 1],
          });
      }
      return predictions;
    },
    async release() {
      await layers.release();
      await readout.release();
      embedding.close();
    },
  };
}

/** Scores byte by byte: exact for every model, and slow for a lexicon model. */
export function byteScorer(model: TextModel): DocumentScorer {
  return {
    async score(bytes, signal) {
      const ids = encode(bytes);
      const sequence = model.createSequence();
      const predictions: Prediction[] = [];
      for (let from = 0; from < bytes.length; from += CHUNK) {
        const to = Math.min(bytes.length, from + CHUNK);
        const logits = await sequence.append(ids.subarray(from, to), { logits: "all", signal });
        for (let i = from; i < to; i++)
          predictions.push(predictByte(logits.subarray((i - from) * VOCABULARY_SIZE), bytes[i], i));
      }
      return predictions;
    },
    release: () => model.release(),
  };
}

/** @param logits [260] of the byte at `offset` */
export function predictByte(logits: Float32Array, byte: number, offset: number): Prediction {
  let best = 0;
  for (let id = 1; id < VOCABULARY_SIZE; id++) if (logits[id] > logits[best]) best = id;
  let sum = 0;
  for (let id = 0; id < VOCABULARY_SIZE; id++) sum += Math.exp(logits[id] - logits[best]);
  const id = byte + BYTE_OFFSET;
  return { offset, length: 1, nats: Math.log(sum) + logits[best] - logits[id], isBest: best === id };
}
