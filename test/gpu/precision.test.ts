/**
 * Whether each session multiplies float32 numbers as such: a library that rounds factors to 10 bits (TF32) in some sessions
 * only is seen by no single comparison, and logits of these sessions are some thousandths off.
 */
import assert from "node:assert/strict";
import { Graph } from "../../model-runtime/graph/graph";
import { createSession } from "../../model-runtime/session";
import { testDevice } from "../helpers/device";

const WIDTH = 64;
const sessions = testDevice === "cpu" ? 2 : 150;

/** x [N, 64] times the identity, as a layer's product and as attention's: both are x, unless factors are rounded. */
function identities(): Graph {
  const graph = new Graph("identities");
  const x = graph.input("x", ["N", WIDTH]);
  const identity = graph.float32(
    Float32Array.from({ length: WIDTH ** 2 }, (_, i) => (i % (WIDTH + 1) === 0 ? 1 : 0)),
    [WIDTH, WIDTH],
  );
  graph.output("layer", graph.node("Gemm", [x, identity], x.shape, { attributes: { transB: 1 } }));
  const heads = graph.node("Reshape", [x, graph.int64([1, 2, -1, WIDTH])], [1, 2, "N", WIDTH]);
  graph.output("attention", graph.node("MatMul", [heads, identity], heads.shape));
  return graph;
}

describe(`products of float32 on ${testDevice}`, () => {
  it(`are exact in each of ${sessions} sessions`, async () => {
    const inexact: string[] = [];
    for (let i = 0; i < sessions; i++) {
      const session = await createSession(identities(), { device: testDevice });
      for (const rows of [2, 6, 40, 64]) {
        // 23 bits of fraction; ten would not do.
        const data = Float32Array.from({ length: rows * WIDTH }, (_, at) => 1 + (2 * at + 1) * 2 ** -20);
        const made = await session.run({ x: { data, shape: [rows, WIDTH] } });
        for (const name of ["layer", "attention"])
          if (!made[name].every((value, at) => value === data[at]))
            inexact.push(`session ${i + 1}, ${name}, ${rows} rows`);
      }
      await session.release();
    }
    assert.deepEqual(inexact, [], "products that were rounded");
  });
});
