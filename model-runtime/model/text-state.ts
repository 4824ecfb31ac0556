/** What generation and evaluation need of a text inside a model, whatever the model. */

import type { PatchingConfig } from "../checkpoint/config";
import type { DraftCosts } from "../generation/draft-record";
import type { Patcher } from "./entropy-model";

/** A loaded model. */
export interface TextModel {
  /** An empty text. `patching` replaces the checkpoint's settings where the model cuts text into patches. */
  createSequence(patching?: PatchingConfig): TextState;
  /** An empty text to generate in, where the model has a faster way to do that on its device than `createSequence`. */
  createText?(patching?: PatchingConfig): TextState;
  /** The entropy model, for what is no text of the model (`PatchedBuffer`); null when it has none. Released with the model. */
  readonly patcher: Omit<Patcher, "release"> | null;
  /** The checkpoint's own patching. */
  readonly patching: PatchingConfig;
  /** Bytes of caches that all its texts share; bounded by the model. */
  readonly sharedBytes: number;
  release(): Promise<void>;
}

/** Which positions' next-byte logits an append returns. */
export type LogitsOf = "all" | "last" | "none";

export interface AppendOptions {
  /** Default `last`. */
  logits?: LogitsOf;
  /** Takes effect before the next run of a network; the text is then as before the chunk that was interrupted. */
  signal?: AbortSignal;
}

/**
 * Whether a part of this chance, all before it being right, and of so many bytes is wanted, and whether more is; what is
 * foreseen ends where not. The first may have no bytes: it is what the others begin with, and no part of its own.
 */
export type GoOn = (chance: number, bytes: number) => boolean | "last";

/** A text: append ids, take the last ones back, fork; always equal to a run from scratch. */
export interface TextState {
  /** Number of ids, BOS included. */
  readonly length: number;
  /** Start positions of the units the latent transformer steps over (patches or pieces). */
  readonly patchStarts: readonly number[];
  /** Bytes held by this text alone. */
  readonly byteLength: number;
  idAt(position: number): number;
  /**
   * Appends ids; the first of a text is BOS.
   * @returns logits of the next byte, [number of new ids, 260] for `all`, [1, 260] for `last`, empty for `none`
   */
  append(ids: ArrayLike<number>, options?: AppendOptions): Promise<Float32Array>;
  /** Appends an id if that takes no run of a large network; else null, and the text is as before. Logits as `append`. */
  appendAlone?(id: number, signal?: AbortSignal): Promise<Float32Array | null>;
  /**
   * What is likely to follow the text and an id behind it, foreseen for far less than it would take to read it; the text
   * stays as it is.
   * @returns parts in their order; null where the model foresees nothing
   */
  foresee?(id: number, goOn: GoOn, signal?: AbortSignal): Promise<{ bytes: Uint8Array; chance: number }[] | null>;
  /**
   * Appends an id and a draft behind it, which is left out from its first byte on that is not the likeliest. `append` with
   * all logits where the text knows nothing better.
   * @param least share of the likeliest byte's chance that a byte of the draft must have, where another than the likeliest
   *   may be chosen; default 1
   * @returns logits after the id and after each id of the draft that was taken, [1 + taken, 260]
   */
  appendDraft?(ids: ArrayLike<number>, signal?: AbortSignal, least?: number): Promise<Float32Array>;
  /** What `appendDraft` costs on this machine; undefined where nothing is known. */
  readonly draftCosts?: DraftCosts;
  /** Forgets all ids from `length` on. */
  truncate(length: number): void;
  /** An independent copy that may continue differently. */
  fork(): TextState;
}
