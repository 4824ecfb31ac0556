import assert from "node:assert/strict";
import { openCheckpoint } from "../../../model-runtime/checkpoint/open-checkpoint";
import { quantizeCheckpoint } from "../../../model-runtime/checkpoint/quantize";
import { Graph } from "../../../model-runtime/graph/graph";
import { RowMemory } from "../../../model-runtime/kernels/row-kernels";
import { exactRowsKernel } from "../../../model-runtime/model/int8-kernel";
import { linear, rowLevels } from "../../../model-runtime/model/linear";
import { RowLinears } from "../../../model-runtime/model/row-linear";
import { createSession } from "../../../model-runtime/session";
import { randomShapes, writeRandomCheckpoint } from "../../helpers/random-checkpoint";
import { useTemporaryFolder } from "../checkpoint/fixture";

const WIDTH = 48;
const options = { device: "cpu", threads: 1 } as const;
const layer = "model.local_encoder.layers.0.self_attn";

describe("RowLinears", () => {
  const path = useTemporaryFolder();

  beforeEach(async () => {
    await writeRandomCheckpoint(path("float"), { ...randomShapes[0][1], localWidth: WIDTH }, 11);
    await quantizeCheckpoint(openCheckpoint(path("float")), path("int8"));
  });

  for (const kernel of ["rows", "rows-narrow"] as const)
    it(`gives the graph's products to the bit, at halves, zeros and extremes too: ${kernel}`, async function () {
      if (kernel === "rows" && (await exactRowsKernel(options)) !== "rows") this.skip();
      const levels = rowLevels(kernel)!;
      const rows: ((i: number) => number)[] = [
        (i) => Math.sin(i * 0.7) * 3,
        // Halves of a step, behind one of the largest magnitude.
        (i) => (i === 0 ? levels : (i % levels) - levels / 2),
        (i) => (i === 0 ? -levels : (i - 24) / 2),
        () => 0,
        () => -0,
        (i) => (i === 5 ? 1e-40 : 0),
        (i) => (i % 2 === 0 ? 3e38 : -3e38),
        (i) => (i === 7 ? 1e30 : 1e-30),
      ];
      const x = Float32Array.from({ length: rows.length * WIDTH }, (_, i) => rows[Math.floor(i / WIDTH)](i % WIDTH));
      const checkpoint = openCheckpoint(path("int8"));
      const memory = RowMemory.create()!;
      const linears = new RowLinears(memory, checkpoint, levels, WIDTH);
      for (const names of [[`${layer}.q_proj`, `${layer}.k_proj`, `${layer}.v_proj`], [`${layer}.o_proj`]]) {
        const graph = new Graph("linear");
        const input = graph.input("x", ["N", WIDTH]);
        graph.output("y", linear({ graph, checkpoint, int8Kernel: kernel }, input, ...names));
        const session = await createSession(graph, options);
        const { y } = await session.run({ x: { data: x, shape: [rows.length, WIDTH] } });
        await session.release();
        const { outputs, apply } = linears.load(...names);
        const [from, to] = [memory.allocateFloats(WIDTH), memory.allocateFloats(outputs)];
        rows.forEach((_, row) => {
          memory.floats.set(x.subarray(row * WIDTH, (row + 1) * WIDTH), from / 4);
          apply(from, to);
          const found = memory.floats.slice(to / 4, to / 4 + outputs);
          // -0 is 0: a row of zeros becomes some numbers, whose sign is left.
          for (let i = 0; i < outputs; i++)
            assert.ok(
              found[i] === y[row * outputs + i],
              `row ${row}, output ${i}: ${found[i]} ${y[row * outputs + i]}`,
            );
        });
      }
    });
});
