import assert from "node:assert/strict";
import fc from "fast-check";
import {
  type BltConfig,
  type LocalConfig,
  patchingModes,
  type TransformerConfig,
} from "../../../model-runtime/checkpoint/config";
import { formatConfig } from "../../../model-runtime/checkpoint/format-config";
import { parseConfig } from "../../../model-runtime/checkpoint/parse-config";

const size = fc.integer({ min: 1, max: 8 });
const nullable = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: null });
const window = nullable(fc.integer({ min: 1, max: 4096 }));

const transformer: fc.Arbitrary<TransformerConfig> = fc
  .record({
    groups: size,
    kvHeads: size,
    halfDim: size,
    layers: size,
    intermediateSize: size,
    ropeTheta: fc.double({ min: 1, max: 1e6, noNaN: true }),
    normEps: fc.double({ min: 0, max: 1, noNaN: true }),
    window,
  })
  .map(({ groups, kvHeads, halfDim, ...rest }) => {
    const heads = groups * kvHeads;
    return { ...rest, heads, kvHeads, headDim: 2 * halfDim, hiddenSize: heads * 2 * halfDim };
  });

const local = (base: TransformerConfig, crossKv: boolean, all: boolean, networkWindow: number | null): LocalConfig => ({
  ...base,
  window: networkWindow,
  crossAttentionAllLayers: all,
  crossAttentionHeads: base.heads,
  crossAttentionKvHeads: crossKv ? base.kvHeads : base.heads,
});

const config: fc.Arbitrary<BltConfig> = fc
  .record({
    base: transformer,
    latent: transformer,
    patcher: nullable(transformer),
    flags: fc.tuple(fc.boolean(), fc.boolean(), fc.boolean(), fc.boolean()),
    windows: fc.tuple(window, window),
    crossAttentionK: size,
    crossAttentionWindow: fc.record({ encoder: size, decoder: size }),
    hash: fc.record({ groupSizes: fc.array(size, { minLength: 1 }), vocab: size, functions: size }),
    patching: fc.record({
      mode: fc.constantFrom(...patchingModes),
      threshold: fc.double({ min: 0, max: 10, noNaN: true }),
      thresholdAdd: nullable(fc.double({ min: -1, max: 1, noNaN: true })),
      monotonic: fc.boolean(),
      newlineReset: fc.boolean(),
      patchSize: size,
      maxPatchLength: nullable(fc.integer({ min: 8, max: 20 })),
      minPatchLength: size,
    }),
    quantization: fc.constantFrom(null, "blt-int8" as const, "blt-blocks" as const, "blt-blocks-symmetric" as const),
  })
  .map(({ base, flags, windows, latent, ...rest }) => ({
    ...rest,
    vocabSize: 260,
    semantics: "meta",
    latent: { ...latent, window: null },
    encoder: local(base, flags[0], flags[1], windows[0]),
    decoder: local(base, flags[2], flags[3], windows[1]),
  }));

describe("formatConfig", () => {
  it("writes every setting so that it is read again as it was", () => {
    fc.assert(
      fc.property(config, (original) => {
        const json = JSON.parse(JSON.stringify(formatConfig(original)));
        const read = parseConfig(json, { where: "config.json" });
        // JSON has no negative zero.
        assert.deepEqual(read, JSON.parse(JSON.stringify(original)));
      }),
      { numRuns: 300 },
    );
  });
});
