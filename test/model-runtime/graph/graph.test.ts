import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TensorLocation } from "../../../model-runtime/checkpoint/checkpoint";
import { Graph } from "../../../model-runtime/graph/graph";
import { createSession } from "../../../model-runtime/session";

function location(directory: string, name: string, shape: number[], offset: number): TensorLocation {
  return { name, dtype: "F32", shape, file: "weights.bin", directory, offset, length: 4 * shape[0] };
}

describe("Graph", () => {
  it("points to weights inside a file, at any offset, without reading it", async () => {
    const directory = mkdtempSync(join(tmpdir(), "blt-graph-"));
    const data = Buffer.alloc(4 + 4 * 5);
    [1.5, -2, 3, 4, 5].forEach((value, i) => {
      data.writeFloatLE(value, 4 + 4 * i);
    });
    writeFileSync(join(directory, "weights.bin"), data);
    const graph = new Graph("weights");
    const x = graph.input("x", [2]);
    const first = graph.weight(location(directory, "first", [2], 4));
    const last = graph.weight(location(directory, "last", [2], 4 + 4 * 3));
    graph.output("y", graph.node("Add", [graph.node("Mul", [x, first], [2]), last], [2]));
    assert.equal(graph.weightBytes, 16);
    const session = await createSession(graph, { device: "cpu" });
    const { y } = await session.run({ x: { data: Float32Array.of(10, 100), shape: [2] } });
    assert.deepEqual([...y], [19, -195]);
    await session.release();
    rmSync(directory, { recursive: true });
  });

  it("uses a weight once however often it is asked for", () => {
    const graph = new Graph("weights");
    const weight = location("/folder", "w", [2], 0);
    assert.equal(graph.weight(weight), graph.weight(weight));
    assert.equal(graph.weightBytes, 8);
  });

  it("refuses weights of two folders, which onnxruntime could not map", () => {
    const graph = new Graph("weights");
    graph.weight(location("/one", "a", [2], 0));
    assert.throws(() => graph.weight(location("/two", "b", [2], 0)), /\/one.*\/two/);
  });

  it("says the shape of a described result, unless it is unknown", () => {
    const fileOf = (shape: (number | string)[], isDescribed: boolean) => {
      const graph = new Graph("described");
      const [a, b] = ["A", "B"].map((rows) => graph.input(rows.toLowerCase(), [rows, 2]));
      graph.output("y", graph.node("Concat", [a, b], shape, { attributes: { axis: 0 }, isDescribed }));
      return Buffer.from(graph.encode());
    };
    const [plain, described] = [fileOf(["A+B", 2], false), fileOf(["A+B", 2], true)];
    // The output's own shape is said in any case.
    assert.equal(plain.indexOf("A+B"), plain.lastIndexOf("A+B"));
    assert.notEqual(described.indexOf("A+B"), described.lastIndexOf("A+B"));
    assert.deepEqual(fileOf(["?", 2], true), fileOf(["?", 2], false));
  });

  it("writes attributes of each kind", async () => {
    const graph = new Graph("attributes");
    const x = graph.input("x", [1, 4]);
    const reduced = graph.node("ReduceSum", [x, graph.int64([1])], [1, 1], { attributes: { keepdims: 1 } });
    const scaled = graph.node("LeakyRelu", [reduced], [1, 1], { attributes: { alpha: 0.25 } });
    const transposed = graph.node("Transpose", [scaled], [1, 1], { attributes: { perm: [1, 0] } });
    graph.output("y", graph.node("Elu", [transposed], [1, 1], { attributes: { alpha: { float: 2 } } }));
    const session = await createSession(graph, { device: "cpu" });
    const { y } = await session.run({ x: { data: Float32Array.of(-1, -1, -1, -1), shape: [1, 4] } });
    assert.ok(Math.abs(y[0] - 2 * (Math.exp(-1) - 1)) < 1e-6);
    await session.release();
  });
});
