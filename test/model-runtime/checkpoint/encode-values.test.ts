import assert from "node:assert/strict";
import { encodeValues, type FloatDtype } from "../../../model-runtime/checkpoint/encode-values";
import { decodeInto } from "../../../model-runtime/checkpoint/tensor-data";
import { checkRefused } from "./fixture";

function check(dtype: FloatDtype, values: number[], expected: number[]) {
  const decoded = new Float32Array(values.length);
  decodeInto(dtype, encodeValues(Float32Array.from(values), dtype, "t"), decoded, 0);
  assert.deepEqual([...decoded], expected);
}

describe("encodeValues", () => {
  it("rounds to the type asked for", () => {
    check("F32", [1 + 2 ** -20, -3], [1 + 2 ** -20, -3]);
    check("F16", [1 + 2 ** -12, -3, 2 ** -30], [1, -3, 0]);
    check("BF16", [1 + 2 ** -9, -3, 2 ** 100], [1, -3, 2 ** 100]);
  });
  for (const [dtype, value] of [
    ["F16", 70000],
    ["F16", Number.NaN],
    ["BF16", 3.4e38],
  ] as const) {
    it(`refuses ${value} in ${dtype}`, () => {
      return checkRefused(
        () => encodeValues(Float32Array.of(0, value), dtype, "t"),
        /Tensor t holds/,
        new RegExp(dtype),
      );
    });
  }
});
