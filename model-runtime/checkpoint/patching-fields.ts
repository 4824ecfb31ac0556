/** Settings that both layouts spell alike, the values that apply where a config is silent, and limits of what is read. */
import { type PatchingConfig, patchingModes } from "./config";
import { type Fields, flag, integer, real, word } from "./json-fields";

/** Window in bytes of patcher, encoder and decoder in Meta's training (blt-spec sections 3 and 5.2). */
export const trainedWindow = 512;

/** The released threshold in nats: the class default of both implementations (blt-spec section 3). */
export const defaultThreshold = 1.335442066192627;

/** Rows of one hash table are picked in exact double arithmetic, which holds up to this many (blt-spec section 5.1). */
export const maxHashVocab = 2 ** 26;

/** Largest number of layers of one network: keeps a mistyped config from enumerating tensors for ever. */
export const maxLayers = 1000;

/** Patching settings under the names that HF's converted configs and Meta's model arguments share (blt-spec section 9.1). */
export function parsePatching(fields: Fields): PatchingConfig {
  const mode = word(fields, "patching_mode", patchingModes, { fallback: "entropy" as const });
  return {
    mode,
    threshold: real(fields, ["patching_threshold", "threshold"], { fallback: defaultThreshold, min: 0 }),
    thresholdAdd: real(fields, ["patching_threshold_add", "threshold_add"], { fallback: null }),
    monotonic: flag(fields, "monotonicity", { fallback: false }),
    newlineReset: flag(fields, "newline_reset", { fallback: false }),
    patchSize: patchSize(fields, mode === "static"),
    maxPatchLength: integer(fields, "max_patch_length", { fallback: null }),
    minPatchLength: integer(fields, "min_patch_length", { fallback: 1 }),
  };
}

function patchSize(fields: Fields, isStride: boolean): number {
  if (isStride) return integer(fields, "patch_size", { fallback: 4 });
  // Meta's releases say 4.5, a mean length wanted of the data; only mode static takes it for a stride.
  return Math.floor(real(fields, "patch_size", { fallback: 4, min: 1, max: 2 ** 31 - 1 }));
}
