/** Documents and configurations for the patching tests. */
import fc from "fast-check";
import type { PatchingConfig } from "../../../model-runtime/checkpoint/config";

export function patching(overrides: Partial<PatchingConfig> = {}): PatchingConfig {
  return {
    mode: "entropy",
    threshold: 1.5,
    thresholdAdd: null,
    monotonic: false,
    newlineReset: false,
    patchSize: 4,
    maxPatchLength: null,
    minPatchLength: 1,
    ...overrides,
  };
}

const anyId = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: 4, max: 259 }) },
  { weight: 3, arbitrary: fc.integer({ min: 0x61 + 4, max: 0x7a + 4 }) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 3 }) },
  { weight: 2, arbitrary: fc.constantFrom(0x0a + 4, 0x20 + 4) },
);

/** Multiples of a quarter nat, so that entropies and rises often equal a threshold exactly. */
const anyEntropy = fc.integer({ min: 0, max: 16 }).map((quarters) => quarters / 4);

export const anyDocument = fc.array(fc.tuple(anyId, anyEntropy), { maxLength: 60 }).map((rest) => ({
  ids: [1, ...rest.map(([id]) => id)],
  entropies: [2.5, ...rest.map(([, entropy]) => entropy)],
}));

const anyLength = fc.integer({ min: 1, max: 6 });

export const anyPatching: fc.Arbitrary<PatchingConfig> = fc
  .record({
    mode: fc.constantFrom("entropy", "entropy", "entropy", "space", "static", "byte", "bpe"),
    threshold: fc.integer({ min: -2, max: 14 }).map((quarters) => quarters / 4),
    thresholdAdd: fc.option(fc.integer({ min: -4, max: 4 }).map((quarters) => quarters / 4)),
    monotonic: fc.boolean(),
    newlineReset: fc.boolean(),
    patchSize: anyLength,
    maxPatchLength: fc.option(anyLength),
    minPatchLength: anyLength,
  })
  .filter(({ maxPatchLength, minPatchLength }) => maxPatchLength === null || minPatchLength <= maxPatchLength);
