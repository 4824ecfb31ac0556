import assert from "node:assert/strict";
import fc from "fast-check";
import { exponential, greatestLane, largestMagnitude } from "../../../model-runtime/kernels/activations";
import { assemble, define, f32x4, i32, MOST_PAGES, repeat, v128 } from "../../../model-runtime/kernels/assembler";
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

/** The exponential of each of some values. */
function exponentials(values: Float32Array): Float32Array {
  const wasm = define("f", { at: "i32", end: "i32" }, "none", ({ at, end }, local) => {
    const x = local("v128");
    return [repeat(at, end, 16, x.set(v128.load(at)), ...exponential(x, local), v128.store(at, x))];
  });
  const memory = new WebAssembly.Memory({ initial: 64, maximum: MOST_PAGES, shared: true });
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(assemble([wasm])), { env: { memory } });
  new Float32Array(memory.buffer).set(values);
  (exports.f as (at: number, end: number) => void)(0, values.byteLength);
  return new Float32Array(memory.buffer).slice(0, values.length);
}

describe("exponential", () => {
  /** How far a float32 is from a number, in units of the last place of float32 at that number. */
  const unitsFrom = (found: number, exact: number) =>
    Math.abs(found - exact) / 2 ** (Math.floor(Math.log2(exact)) - 23);

  it("is within 2 units in the last place from -87 to 88", () => {
    const steps = 2 ** 18;
    const even = Float32Array.from({ length: steps }, (_, i) => -87 + (175 * i) / (steps - 1));
    // Next to zero, of all sizes; and where the nearest power of two changes.
    const near = [1, -1].flatMap((sign) => Array.from({ length: 600 }, (_, i) => sign * 2 ** (-i / 4)));
    const halves = Array.from({ length: 250 }, (_, i) => (i - 125 + 0.5) * Math.LN2);
    const edges = halves.flatMap((half) => [-2, -1, 0, 1, 2].map((step) => half * (1 + step * 2 ** -23)));
    const values = Float32Array.from([...even, ...near, ...edges, -87, 88]);
    const found = exponentials(values);
    let worst = 0;
    values.forEach((value, i) => {
      if (value < -87 || value > 88) return;
      worst = Math.max(worst, unitsFrom(found[i], Math.exp(value)));
    });
    assert.ok(worst <= 2, `${worst}`);
  });

  it("is within 2 units in the last place at any number of its range", () => {
    const fours = fc.array(fc.float({ min: -87, max: 88, noNaN: true }), { minLength: 4, maxLength: 4 });
    fc.assert(
      fc.property(fours, (values) => {
        exponentials(Float32Array.from(values)).forEach((found, i) => {
          assert.ok(unitsFrom(found, Math.exp(values[i])) <= 2, `${values[i]}: ${found}`);
        });
      }),
      { numRuns: 50 },
    );
  });

  it("is exactly 1 at zero", () => {
    assert.deepEqual([...exponentials(Float32Array.of(0, -0, 2 ** -149, -(2 ** -149)))], [1, 1, 1, 1]);
  });

  it("is 0 below -87 and for NaN, and e^88 above 88", () => {
    const below = Math.fround(-87 - 2 ** -17);
    const none = [below, -88, -1e30, Number.NEGATIVE_INFINITY, Number.NaN];
    const much = [Math.fround(88 + 2 ** -17), 89, 1e30, Number.POSITIVE_INFINITY];
    const found = exponentials(Float32Array.from([...none, ...much, 88]));
    assert.deepEqual(
      [...found.subarray(0, none.length)],
      none.map(() => 0),
    );
    assert.deepEqual(
      [...found.subarray(none.length, none.length + much.length)],
      much.map(() => found.at(-1)),
    );
  });
});

/** The lanes of what is made of the values, which begin at address 0. */
function reduced(
  operation: (largest: Parameters<typeof largestMagnitude>[0], count: number) => ReturnType<typeof greatestLane>,
  values: Float32Array,
): number[] {
  const wasm = define("f", {}, "none", (_, local) => {
    const largest = local("v128");
    return [...operation(largest, values.length / 4), v128.store(i32.const(1024), largest)];
  });
  const memory = new WebAssembly.Memory({ initial: 1, maximum: MOST_PAGES, shared: true });
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(assemble([wasm])), { env: { memory } });
  const floats = new Float32Array(memory.buffer);
  floats.set(values);
  (exports.f as () => void)();
  return [...floats.subarray(256, 260)];
}

describe("largestMagnitude", () => {
  const largestOf = (values: Float32Array) =>
    reduced(
      (largest, count) =>
        largestMagnitude(
          largest,
          Array.from({ length: count }, (_, i) => f32x4.abs(v128.load(i32.const(16 * i)))),
        ),
      values,
    );

  it("is the largest magnitude of any number of vectors, in every lane", () => {
    const fours = fc
      .integer({ min: 1, max: 8 })
      .chain((count) => fc.array(fc.float({ noNaN: true }), { minLength: 4 * count, maxLength: 4 * count }));
    fc.assert(
      fc.property(fours, (values) => {
        const largest = Math.max(...values.map(Math.abs));
        assert.deepEqual(largestOf(Float32Array.from(values)), new Array(4).fill(largest));
      }),
    );
  });

  it("is NaN wherever one is NaN, beside infinity as well", () => {
    for (let at = 0; at < 8; at++)
      // With a sign, and one that signals.
      for (const bits of [0x7fc00000, 0xffc00000, 0x7f800001]) {
        const values = Float32Array.of(1, -2, Number.POSITIVE_INFINITY, 4, Number.NEGATIVE_INFINITY, 6, 0, 8);
        new Uint32Array(values.buffer)[at] = bits;
        assert.deepEqual(largestOf(values), new Array(4).fill(Number.NaN));
      }
  });
});

describe("greatestLane", () => {
  it("is the greatest in every lane", () => {
    for (let at = 0; at < 4; at++) {
      const values = Float32Array.of(-5, -6, -7, -8);
      values[at] = -2;
      const found = reduced((x) => [x.set(v128.load(i32.const(0))), ...greatestLane(x)], values);
      assert.deepEqual(found, new Array(4).fill(-2));
    }
  });
});
