/** What fine-tuning needs of a kind of model: how it is trained, scored and used, and how its adapters are named. */
import { isLexicon, loadModel, type ModelCheckpoint } from "../model/load-model";
import type { LowRank } from "../model/low-rank";
import type { TextModel } from "../model/text-state";
import type { SessionOptions } from "../session";
import type { AdapterBase } from "./adapter-file";
import { ByteTrainee } from "./byte-trainee";
import { byteScorer, type DocumentScorer, pieceScorer } from "./document-scores";
import { PieceTrainee } from "./piece-trainee";
import type { Trainee, TraineeOptions } from "./trainee";

/** Kinds of linear layers that may be adapted. */
export const targetKinds = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"] as const;

export interface Kit {
  base: AdapterBase;
  /** Layers of the latent transformer. */
  latentLayers: number;
  /** Layers trained and positions of a row unless said otherwise. */
  defaults: { layers: number; positions: number };
  trainee(options: TraineeOptions): Promise<Trainee>;
  scorer(adapter: LowRank | null, options: SessionOptions): Promise<DocumentScorer>;
  textModel(adapter: LowRank | null, options: SessionOptions): Promise<TextModel>;
}

export function kitFor(checkpoint: ModelCheckpoint): Kit {
  const textModel: Kit["textModel"] = (adapter, options) => loadModel(checkpoint, { ...options, adapter });
  const latent = checkpoint.config.latent;
  if (isLexicon(checkpoint))
    return {
      base: {
        checkpoint,
        llama: { heads: latent.heads, kvHeads: latent.kvHeads, headDim: latent.headDim },
        // A readout matrix comes of a stream in another basis (pretraining/latent_training.py).
        publicName: checkpoint.config.readoutMatrix ? null : "HuggingFaceTB/SmolLM2-135M",
      },
      latentLayers: latent.layers,
      defaults: { layers: Math.min(8, latent.layers), positions: 512 },
      trainee: (options) => PieceTrainee.load(checkpoint, options),
      scorer: (adapter, options) => pieceScorer(checkpoint, adapter, options),
      textModel,
    };
  return {
    base: { checkpoint, llama: null, publicName: null },
    latentLayers: latent.layers,
    defaults: { layers: latent.layers, positions: 512 },
    trainee: (options) => ByteTrainee.load(checkpoint, options),
    scorer: async (adapter, options) => byteScorer(await textModel(adapter, options)),
    textModel,
  };
}

/** The base of adapters for a checkpoint. */
export function adapterBase(checkpoint: ModelCheckpoint): AdapterBase {
  return kitFor(checkpoint).base;
}
