import assert from "node:assert/strict";
import fc from "fast-check";
import { Graph } from "../../../model-runtime/graph/graph";
import { asBytes, hasByteKeys, roundToBytes } from "../../../model-runtime/model/byte-keys";
import { createSession } from "../../../model-runtime/session";

describe("roundToBytes", () => {
  it("leaves 255 values around zero of each stretch, the largest magnitude as it is", () => {
    const values = Float32Array.of(127, 63.4, -1.6, 0.5, /* halves go to even numbers */ -254, 1, 3, 0);
    roundToBytes(values, 4);
    assert.deepEqual([...values], [127, 63, -2, 0, -254, 0, 4, 0]);
  });

  it("rounds what is rounded to itself", () => {
    fc.assert(
      fc.property(
        fc.array(fc.float({ noNaN: true, min: -Math.fround(1e37), max: Math.fround(1e37) }), {
          minLength: 3,
          maxLength: 3,
        }),
        (row) => {
          const once = Float32Array.from(row);
          roundToBytes(once, 3);
          const twice = once.slice();
          roundToBytes(twice, 3);
          const reach = Math.max(...once.map(Math.abs));
          twice.forEach((value, i) => {
            assert.ok(Math.abs(value - once[i]) <= 2 ** -22 * reach, `${value}, ${once[i]}`);
          });
        },
      ),
    );
  });

  it("has zeros of zeros, and no number in a stretch with one that is none", () => {
    const values = Float32Array.of(0, -0, 1, Number.NaN, 5, 2);
    roundToBytes(values, 2);
    assert.deepEqual([...values], [0, 0, Number.NaN, Number.NaN, 5, Math.fround(51 * Math.fround(5 / 127))]);
  });
});

describe("asBytes", () => {
  it("gives what roundToBytes gives, of the last dimension", async () => {
    const [heads, rows, width] = [2, 3, 8];
    const x = Float32Array.from({ length: heads * rows * width }, (_, i) => Math.sin(i * i) * 10 ** (i % 5));
    x.fill(0, width, 2 * width);
    const graph = new Graph("bytes");
    const shape = [heads, "N", width];
    graph.output("rounded", asBytes(graph, graph.input("x", shape)));
    const session = await createSession(graph, { device: "cpu", threads: 1 });
    const { rounded } = await session.run({ x: { data: x, shape: [heads, rows, width] } });
    await session.release();
    const expected = x.slice();
    roundToBytes(expected, width);
    assert.deepEqual(
      [...rounded].map((value) => value + 0),
      [...expected],
    );
  });
});

describe("hasByteKeys", () => {
  it("is true of networks without a window", () => {
    const config = { window: null } as Parameters<typeof hasByteKeys>[0];
    assert.deepEqual([hasByteKeys(config), hasByteKeys({ ...config, window: 64 })], [true, false]);
  });
});
