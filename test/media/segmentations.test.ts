import assert from "node:assert/strict";
import {
  comparedWithThreshold,
  cut,
  float32,
  meanLength,
  parametersOf,
  uint32,
} from "../../media/explorer/segmentations";
import type { PatchingConfig } from "../../model-runtime/checkpoint/config";
import { base64 } from "../../server/base64";

const patching: PatchingConfig = {
  mode: "entropy",
  threshold: 1.5,
  thresholdAdd: null,
  monotonic: false,
  newlineReset: false,
  patchSize: 6,
  maxPatchLength: null,
  minPatchLength: 1,
};
const bytes = new TextEncoder().encode("ab cd ef");
const entropies = Float32Array.of(3, 1, 2, 1, 1, 2, 1, 1);

describe("meanLength", () => {
  it("is that of what has been cut, not of all the text", () => {
    assert.equal(meanLength({ starts: Uint32Array.of(0, 2, 5), cutBytes: 6 }), 2);
    assert.equal(meanLength({ starts: new Uint32Array(0), cutBytes: 0 }), 0);
    assert.equal(meanLength({ starts: null, cutBytes: 0 }), 0);
  });
});

describe("cut", () => {
  const starts = (mode: "entropy" | "space" | "static" | "byte", parameters = {}) => [
    ...cut(mode, bytes, entropies, patching, { ...parametersOf(patching), ...parameters }),
  ];

  it("cuts by the rules of the runtime, with parameters of the page", () => {
    assert.deepEqual(starts("entropy"), [0, 2, 5]);
    assert.deepEqual(starts("entropy", { threshold: 0.5 }), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert.deepEqual(starts("entropy", { threshold: 9 }), [0]);
    assert.deepEqual(starts("entropy", { maxPatchLength: 2 }), [0, 2, 4, 5, 7]);
    assert.deepEqual(starts("entropy", { minPatchLength: 3 }), [0, 5]);
    assert.deepEqual(starts("entropy", { monotonic: true, threshold: 0.5 }), [0, 1, 2, 5]);
    assert.deepEqual(starts("space"), [0, 3, 6]);
    assert.deepEqual(starts("static", { patchSize: 4, maxPatchLength: 2 }), [0, 3, 7]);
    assert.equal(starts("byte").length, 8);
  });

  it("takes the model's own parameters, with fixed patches that show something", () => {
    assert.equal(parametersOf({ ...patching, patchSize: 1 }).patchSize, 4);
    assert.equal(parametersOf(patching).threshold, 1.5);
  });
});

describe("comparedWithThreshold", () => {
  it("is the entropy, or its rise", () => {
    assert.equal(comparedWithThreshold(entropies, false), entropies);
    assert.deepEqual([...comparedWithThreshold(entropies, true)].slice(0, 4), [0, -2, 1, -1]);
  });
});

describe("numbers from the server", () => {
  it("arrive as they were", () => {
    assert.deepEqual(float32(base64(entropies)), entropies);
    assert.deepEqual(uint32(base64(Uint32Array.of(0, 70_000))), Uint32Array.of(0, 70_000));
  });
});
