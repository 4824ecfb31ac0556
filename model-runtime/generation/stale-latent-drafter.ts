/** Drafts of a plain BLT's own local decoder, which runs on while the latent is stale (BLT-S, blt-spec section 16). */
import { BYTE_OFFSET } from "../ids";
import { BltSequence } from "../model/sequence";
import type { DraftContext, Drafter, RecordedDraft } from "./drafter";

/** A windowed cache takes back so many positions for nothing. */
const MOST = 24;

export class StaleLatentDrafter implements Drafter {
  readonly name = "decoder";
  /** Encoder and decoder of a byte: the latent transformer and the patcher are left out. */
  readonly cost = 0.3;

  async draft({ sequence, text, most }: DraftContext, signal?: AbortSignal): Promise<RecordedDraft | null> {
    if (!(sequence instanceof BltSequence)) return null;
    const id = text[text.length - 1] + BYTE_OFFSET;
    const bytes = await sequence.draftWithStaleLatent(id, Math.min(most, MOST), signal);
    return bytes.length === 0 ? null : { bytes, strength: 0 };
  }
}
