/** The ways a text is cut that the explorer shows side by side. Pure. */
import type { PatchingConfig } from "../../model-runtime/checkpoint/config";
import { encode } from "../../model-runtime/ids";
import { patchStarts } from "../../model-runtime/patching/patch-lengths";

export type SegmentationId = "entropy" | "pieces" | "space" | "static" | "cl100k" | "o200k" | "llama3" | "byte";

export interface Segmentation {
  id: SegmentationId;
  name: string;
  /** Byte offsets at which segments start; null while they are not known, or where there are none. */
  starts: Uint32Array | null;
  /** Bytes of the text that are cut: fewer than all while entropies are still being read. */
  cutBytes: number;
  /** Why there are none; else null. */
  problem: string | null;
}

/** Mean length of what has been cut, bytes; 0 where nothing has. */
export function meanLength({ starts, cutBytes }: Pick<Segmentation, "starts" | "cutBytes">): number {
  return starts === null || starts.length === 0 ? 0 : cutBytes / starts.length;
}

/** What one unit is called. */
export const names: Readonly<Record<SegmentationId, { name: string; unit: string }>> = {
  entropy: { name: "Entropy patches", unit: "patch" },
  pieces: { name: "The model's pieces", unit: "piece" },
  space: { name: "Space patches", unit: "patch" },
  static: { name: "Fixed patches", unit: "patch" },
  cl100k: { name: "GPT-4 (cl100k)", unit: "token" },
  o200k: { name: "GPT-4o (o200k)", unit: "token" },
  llama3: { name: "Llama 3", unit: "token" },
  byte: { name: "Bytes", unit: "byte" },
};

/** The controls of the page that change how text is cut. */
export interface Parameters {
  /** Nats. */
  threshold: number;
  monotonic: boolean;
  maxPatchLength: number | null;
  minPatchLength: number;
  /** Of fixed patches. */
  patchSize: number;
}

export function parametersOf(patching: PatchingConfig): Parameters {
  const { threshold, monotonic, maxPatchLength, minPatchLength, patchSize } = patching;
  return { threshold, monotonic, maxPatchLength, minPatchLength, patchSize: patchSize > 1 ? patchSize : 4 };
}

/**
 * Where patches start.
 *
 * @param bytes [n]
 * @param entropies [n] nats before each byte
 */
export function cut(
  mode: "entropy" | "space" | "static" | "byte",
  bytes: Uint8Array,
  entropies: Float32Array,
  patching: PatchingConfig,
  parameters: Parameters,
): Uint32Array {
  const own =
    mode === "entropy" ? parameters : { patchSize: parameters.patchSize, maxPatchLength: null, minPatchLength: 1 };
  // What follows the last byte is not shown, so its entropy does not matter.
  const after = new Float32Array(bytes.length + 1).fill(Number.NaN);
  after.set(entropies);
  const { starts } = patchStarts(encode(bytes), after, {
    ...patching,
    mode,
    newlineReset: patching.newlineReset && mode === "entropy",
    ...own,
  });
  return Uint32Array.from(
    starts.filter((position) => position > 0 && position <= bytes.length),
    (position) => position - 1,
  );
}

/** What the threshold is compared with: entropies, or their rises. [n] */
export function comparedWithThreshold(entropies: Float32Array, monotonic: boolean): Float32Array {
  return monotonic ? entropies.map((entropy, i) => (i === 0 ? 0 : entropy - entropies[i - 1])) : entropies;
}

/** Numbers as the server sends them. */
export function float32(base64: string): Float32Array {
  return new Float32Array(bytesOf(base64).buffer);
}

export function uint32(base64: string): Uint32Array {
  return new Uint32Array(bytesOf(base64).buffer);
}

function bytesOf(base64: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}
