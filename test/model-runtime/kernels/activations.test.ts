import assert from "node:assert/strict";
import fc from "fast-check";
import { RowMemory } from "../../../model-runtime/kernels/row-kernels";

const values = fc
  .integer({ min: 1, max: 40 })
  .chain((vectors) =>
    fc.array(fc.float({ noNaN: true, min: -200, max: 200 }), { minLength: 4 * vectors, maxLength: 4 * vectors }),
  )
  .map((list) => Float32Array.from(list));

describe("rmsNorm", () => {
  it("divides by the root of the mean square and multiplies by the weight", () => {
    fc.assert(
      fc.property(values, (x) => {
        const memory = RowMemory.create()!;
        const weight = x.map((_, i) => Math.sin(i));
        const [from, by, to] = [memory.place(x), memory.place(weight), memory.allocateFloats(x.length)];
        memory.kernels.rmsNorm(from, by, to, x.length, 1e-5);
        const square = x.reduce((sum, value) => sum + value * value, 0);
        const root = Math.sqrt(square / x.length + 1e-5);
        x.forEach((value, i) => {
          const expected = (value / root) * weight[i];
          assert.ok(Math.abs(memory.floats[to / 4 + i] - expected) <= 1e-6 * Math.abs(expected) + 1e-30);
        });
      }),
    );
  });
});

describe("addTo", () => {
  it("adds", () => {
    const memory = RowMemory.create()!;
    const [x, y] = [memory.place(Float32Array.of(1, 2, 3, 4)), memory.place(Float32Array.of(5, 6, 7, -8))];
    memory.kernels.addTo(x, y, 4);
    assert.deepEqual([...memory.floats.subarray(x / 4, x / 4 + 4)], [6, 8, 10, -4]);
  });
});

describe("swiGlu", () => {
  it("is silu of the gates times the values behind them, for gates of any size", () => {
    fc.assert(
      fc.property(values, (gates) => {
        const memory = RowMemory.create()!;
        const at = memory.place(Float32Array.from([...gates, ...gates.map((_, i) => Math.cos(i))]));
        memory.kernels.swiGlu(at, gates.length);
        gates.forEach((gate, i) => {
          const expected = (gate / (1 + Math.exp(-gate))) * Math.fround(Math.cos(i));
          const found = memory.floats[at / 4 + i];
          assert.ok(Math.abs(found - expected) <= 1e-6 * Math.abs(expected) + 1e-30, `${gate}: ${found}, ${expected}`);
        });
      }),
    );
  });
});
