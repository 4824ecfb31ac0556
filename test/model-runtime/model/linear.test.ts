import assert from "node:assert/strict";
import { Graph } from "../../../model-runtime/graph/graph";
import { exactRowsKernel } from "../../../model-runtime/model/int8-kernel";
import { type Int8Kernel, int8Kernels, int8Linear } from "../../../model-runtime/model/linear";
import { createSession } from "../../../model-runtime/session";

const [ROWS, INPUTS, OUTPUTS] = [5, 96, 40];
const x = Float32Array.from({ length: ROWS * INPUTS }, (_, i) => Math.sin(i * 0.37) * (1 + (i % 7)));
const weight = Int8Array.from({ length: OUTPUTS * INPUTS }, (_, i) => ((i * 73) % 255) - 127);
const scales = Float32Array.from({ length: OUTPUTS }, (_, i) => 0.01 * (1 + i / OUTPUTS));

function expected(row: number, output: number): number {
  let sum = 0;
  for (let i = 0; i < INPUTS; i++) sum += x[row * INPUTS + i] * weight[output * INPUTS + i] * scales[output];
  return sum;
}

async function product(kernel: Int8Kernel, rows: number, data = x): Promise<Float32Array> {
  const graph = new Graph("linear");
  const input = graph.input("x", ["N", INPUTS]);
  graph.output("y", int8Linear(graph, input, graph.int8(weight, [OUTPUTS, INPUTS]), graph.float32(scales), kernel));
  const session = await createSession(graph, { device: "cpu", threads: 1 });
  const { y } = await session.run({ x: { data: data.slice(0, rows * INPUTS), shape: [rows, INPUTS] } });
  await session.release();
  return y;
}

describe("int8Linear", () => {
  for (const kernel of int8Kernels)
    it(`${kernel}: a row's result does not depend on the rows it runs with`, async () => {
      const [alone, together] = [await product(kernel, 1), await product(kernel, ROWS)];
      for (let output = 0; output < OUTPUTS; output++)
        assert.ok(
          Math.abs(alone[output] - together[output]) <= 1e-4 * (1 + Math.abs(alone[output])),
          `output ${output}`,
        );
    });

  for (const kernel of int8Kernels)
    it(`${kernel}: a row of zeros stays one, between others`, async () => {
      const zeroed = x.slice().fill(0, INPUTS, 2 * INPUTS);
      const [y, others] = [await product(kernel, 3, zeroed), await product(kernel, 3)];
      assert.ok(y.subarray(OUTPUTS, 2 * OUTPUTS).every((value) => value === 0));
      assert.deepEqual(y.subarray(2 * OUTPUTS), others.subarray(2 * OUTPUTS));
    });

  for (const kernel of int8Kernels)
    it(`${kernel} is x times the dequantised rows, within the rounding of its activations`, async () => {
      const y = await product(kernel, ROWS);
      let [error, power] = [0, 0];
      for (let row = 0; row < ROWS; row++)
        for (let output = 0; output < OUTPUTS; output++) {
          const truth = expected(row, output);
          error += (y[row * OUTPUTS + output] - truth) ** 2;
          power += truth ** 2;
        }
      // Signed products saturate on some processors, for which there is the other kernel.
      const saturates = kernel === "rows" && (await exactRowsKernel({ device: "cpu", threads: 1 })) !== "rows";
      // Activations of 8 bits err by some per cent on sums that nearly cancel, as these do, of 7 bits by twice as much; a wrong
      // layout errs by 1.
      const tolerance = kernel === "float32" ? 1e-6 : kernel === "rows-narrow" ? 0.1 : 0.05;
      assert.equal(Math.sqrt(error / power) < tolerance, !saturates, `relative error ${Math.sqrt(error / power)}`);
    });
});
