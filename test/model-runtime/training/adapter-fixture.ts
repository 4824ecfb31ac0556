/** Adapters with numbers drawn at random. */
import { createRandom } from "../../../model-runtime/generation/random";
import type { ModelCheckpoint } from "../../../model-runtime/model/load-model";
import type { LowRank } from "../../../model-runtime/model/low-rank";
import type { Adapter } from "../../../model-runtime/training/adapter-file";
import { fingerprint } from "../../../model-runtime/training/fingerprint";
import { readFloatWeight } from "../../../model-runtime/training/float-weights";

export function randomAdapter(checkpoint: ModelCheckpoint, layers: readonly string[], seed = 3): Adapter {
  const random = createRandom(seed);
  const numbers = (count: number) => Float32Array.from({ length: count }, () => Math.fround(random() - 0.5));
  const parts: LowRank["parts"] = new Map(
    layers.map((name) => {
      const [outputs, inputs] = readFloatWeight(checkpoint, `${name}.weight`).shape;
      return [name, { a: numbers(2 * inputs), b: numbers(2 * outputs), inputs, outputs }];
    }),
  );
  const card = {
    base: fingerprint(checkpoint),
    date: "2026-01-02T03:04:05.678Z",
    files: 12,
    bytes: 34567,
    heldOut: { before: 0.8, after: 0.7 },
    general: { before: 0.9, after: 0.91 },
    exactMatch: null,
  };
  return { lowRank: { rank: 2, alpha: 4, parts }, card };
}
