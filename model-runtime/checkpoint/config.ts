/**
 * The configuration of a BLT as the runtime uses it: every key and alias of the two published layouts is
 * resolved to one name here, so that nothing else reads `config.json`.
 */

/** What `config.json` describes, with defaults resolved (blt-spec section 9). */
export interface BltConfig {
  /** Number of ids a network reads and predicts: 4 special ids + 256 bytes. */
  vocabSize: number;
  patching: PatchingConfig;
  /** Vectors a patch is pooled into, and keys a patch offers to the decoder: `cross_attn_k`. */
  crossAttentionK: number;
  /** How many neighbouring patches a cross-attention query sees: 1 is its own patch only (Meta's `cross_attn_window_*`). */
  crossAttentionWindow: { encoder: number; decoder: number };
  hash: HashConfig;
  /** The entropy model; null when the checkpoint carries none and its patching needs none. */
  patcher: TransformerConfig | null;
  encoder: LocalConfig;
  latent: TransformerConfig;
  decoder: LocalConfig;
  /**
   * Whose forward pass: `meta` masks attention at the end of each document and carries patch vectors through the
   * encoder's layers; `hf` does neither (blt-spec section 19, 1-7). Windows are written out in each network's config.
   */
  semantics: "meta" | "hf";
  /** How weights may be stored beside floating point; null where all are floating point. */
  quantization: Quantization | null;
}

/**
 * Stored forms of a quantised checkpoint (docs/checkpoint-format.md): int8 rows only, or 4-bit blocks as well, with minima
 * of their own or of values from -8 to 7 times a scale.
 */
export type Quantization = "blt-int8" | BlockForm;
export type BlockForm = "blt-blocks" | "blt-blocks-symmetric";

/** One stack of pre-norm transformer blocks (RMSNorm, interleaved rotary embedding, SwiGLU, no biases). */
export interface TransformerConfig {
  hiddenSize: number;
  layers: number;
  heads: number;
  /** Grouped-query attention when smaller than `heads`. */
  kvHeads: number;
  headDim: number;
  intermediateSize: number;
  ropeTheta: number;
  normEps: number;
  /** Key j is visible to query i iff i - window < j <= i; null is no window. */
  window: number | null;
}

/** A local (byte-level) network: a transformer and its cross-attention to patches. */
export interface LocalConfig extends TransformerConfig {
  /** Cross-attention in every layer; otherwise in the last (encoder) or the first (decoder) one. */
  crossAttentionAllLayers: boolean;
  crossAttentionHeads: number;
  crossAttentionKvHeads: number;
}

export interface HashConfig {
  /** N-gram lengths in bytes, in table order. */
  groupSizes: number[];
  /** Rows of one table. */
  vocab: number;
  functions: number;
}

export const patchingModes = ["entropy", "space", "static", "byte", "bpe"] as const;
export type PatchingMode = (typeof patchingModes)[number];

export interface PatchingConfig {
  mode: PatchingMode;
  /** Nats. */
  threshold: number;
  /** Second threshold on the rise of entropy, nats; null when the rule is not used. */
  thresholdAdd: number | null;
  /** Start where entropy rises by more than `threshold` instead of where it exceeds it. */
  monotonic: boolean;
  /** A byte after a newline starts a patch (unless `minPatchLength` forbids it), and the entropy's context begins anew (paper section 4.4). */
  newlineReset: boolean;
  /** Stride of mode `static`. */
  patchSize: number;
  maxPatchLength: number | null;
  /** A start that would leave a patch shorter than this is not taken. */
  minPatchLength: number;
}
