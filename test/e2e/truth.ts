/** What a model says of a text, computed here, to compare with what is drawn. */
import { encode } from "../../model-runtime/ids";
import { entropiesOf, loadPatcher } from "../../model-runtime/model/entropy-model";
import { openModel } from "../../model-runtime/model/load-model";
import { patchStarts } from "../../model-runtime/patching/patch-lengths";

export interface Truth {
  /** Nats before each byte. */
  entropies: Float32Array;
  /** The model's own, nats. */
  threshold: number;
  /** Byte offsets of patches, for a threshold or the model's own. */
  starts(threshold?: number): number[];
}

export async function truthOf(text: string, model: string): Promise<Truth> {
  const checkpoint = openModel(model);
  const { patching } = checkpoint.config;
  const patcher = await loadPatcher(checkpoint, { device: "cpu", threads: 1 });
  const ids = encode(Buffer.from(text));
  const entropies = await entropiesOf(patcher, ids, { patching });
  await patcher.release();
  return {
    entropies,
    threshold: patching.threshold,
    starts(threshold = patching.threshold) {
      const { starts } = patchStarts(ids, entropies, { ...patching, threshold });
      return starts.slice(1).map((position) => position - 1);
    },
  };
}

/** Boundaries as the overlay draws them: before characters, at line ends, and characters inside which one lies. */
export interface Boundaries {
  before: number;
  atEnd: number;
  inside: number;
}

export function boundariesOf(text: string, starts: readonly number[]): Boundaries {
  const bytes = Buffer.from(text);
  const isInside = (at: number) => (bytes[at] & 0xc0) === 0x80;
  const startOf = (at: number) => {
    let start = at;
    while (isInside(start)) start--;
    return start;
  };
  return {
    before: starts.filter((at) => bytes[at] !== NEWLINE && !isInside(at)).length,
    atEnd: starts.filter((at) => bytes[at] === NEWLINE).length,
    inside: new Set(starts.filter(isInside).map(startOf)).size,
  };
}

const NEWLINE = 10;
