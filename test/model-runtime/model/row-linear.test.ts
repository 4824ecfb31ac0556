import assert from "node:assert/strict";
import type { Weights } from "../../../model-runtime/checkpoint/checkpoint";
import { openCheckpoint } from "../../../model-runtime/checkpoint/open-checkpoint";
import { quantizeCheckpoint } from "../../../model-runtime/checkpoint/quantize";
import { matrixShape, readWeight } from "../../../model-runtime/checkpoint/tensor-data";
import { createRandom } from "../../../model-runtime/generation/random";
import { Graph } from "../../../model-runtime/graph/graph";
import { RowMemory } from "../../../model-runtime/kernels/row-kernels";
import { exactRowsKernel } from "../../../model-runtime/model/int8-kernel";
import { type Int8Kernel, linear, rowLevels } from "../../../model-runtime/model/linear";
import { appliedAdapter, type LowRank } from "../../../model-runtime/model/low-rank";
import { RowLinears } from "../../../model-runtime/model/row-linear";
import type { RowLinear } from "../../../model-runtime/model/row-product";
import { createSession } from "../../../model-runtime/session";
import { randomShapes, writeRandomCheckpoint } from "../../helpers/random-checkpoint";
import { useTemporaryFolder } from "../checkpoint/fixture";

const WIDTH = 48;
const BLOCKS_WIDTH = 96;
const options = { device: "cpu", threads: 1 } as const;
const layer = "model.local_encoder.layers.0.self_attn";
const latentLayer = "model.global_transformer.layers.0";
const queryKeyValue = (of: string) => ["q", "k", "v"].map((name) => `${of}.${name}_proj`);
/** What is joined in one product and what stands alone, of each form of weights: their inputs, and names. */
const forms: [string, number, string[]][] = [
  ["joined blocks", BLOCKS_WIDTH, queryKeyValue(`${latentLayer}.self_attn`)],
  ["blocks", 2 * BLOCKS_WIDTH, [`${latentLayer}.mlp.down_proj`]],
  ["joined int8 rows", WIDTH, queryKeyValue(layer)],
  ["int8 rows", WIDTH, [`${layer}.o_proj`]],
  ["float32 rows", WIDTH, ["lm_head"]],
];

describe("RowLinears", () => {
  const path = useTemporaryFolder();
  let checkpoint: Weights;

  beforeEach(async () => {
    const shape = { ...randomShapes[0][1], localWidth: WIDTH, latentWidth: BLOCKS_WIDTH, latentHeads: 6 };
    await writeRandomCheckpoint(path("float"), shape, 11);
    await quantizeCheckpoint(openCheckpoint(path("float")), path("quantised"), { bits: 4 });
    checkpoint = openCheckpoint(path("quantised"));
  });

  /** Products of rows [N, inputs] as a graph computes them: [N, outputs]. */
  async function graphProducts(
    weights: Weights,
    int8Kernel: Int8Kernel,
    adapter: LowRank | null,
    names: readonly string[],
    x: Float32Array,
    inputs: number,
  ): Promise<Float32Array> {
    const graph = new Graph("linear");
    const input = graph.input("x", ["N", inputs]);
    const context = {
      graph,
      checkpoint: weights,
      int8Kernel,
      adapter: adapter === null ? undefined : appliedAdapter(adapter, weights),
    };
    graph.output("y", linear(context, input, ...names));
    const session = await createSession(graph, options);
    const { y } = await session.run({ x: { data: x, shape: [x.length / inputs, inputs] } });
    await session.release();
    return y;
  }

  /** The same by the kernels, `together` rows at a time. */
  function rowProducts(
    memory: RowMemory,
    { outputs, apply }: RowLinear,
    x: Float32Array,
    inputs: number,
    together = 1,
  ) {
    const count = x.length / inputs;
    // Rows that lie apart and hold more behind what is read and written.
    const [from, to] = [memory.allocateRows(together, inputs + 5), memory.allocateRows(together, outputs + 3)];
    const y = new Float32Array(count * outputs);
    for (let first = 0; first < count; first += together) {
      const rows = Math.min(together, count - first);
      for (let row = 0; row < rows; row++)
        memory.row(from, row, inputs).set(x.subarray((first + row) * inputs, (first + row + 1) * inputs));
      apply(from, to, rows);
      for (let row = 0; row < rows; row++) y.set(memory.row(to, row, outputs), (first + row) * outputs);
    }
    return y;
  }

  const random = createRandom(3);
  const randomNumbers = (count: number, size = 1) =>
    Float32Array.from({ length: count }, () => size * (2 * random() - 1));

  /** Low-rank parts of layers. */
  function adapterOf(rank: number, names: readonly string[]): LowRank {
    const parts = names.map((name) => {
      const [outputs, inputs] = matrixShape(checkpoint.tensors.get(`${name}.weight`)!);
      return [name, { a: randomNumbers(rank * inputs), b: randomNumbers(outputs * rank), inputs, outputs }] as const;
    });
    return { rank, alpha: 1.5, parts: new Map(parts) };
  }

  for (const kernel of ["rows", "rows-narrow"] as const)
    it(`gives the graph's products of int8 rows to the bit, at halves, zeros and extremes too: ${kernel}`, async function () {
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
      const memory = RowMemory.create()!;
      const linears = new RowLinears(memory, checkpoint, levels);
      for (const names of [queryKeyValue(layer), [`${layer}.o_proj`]]) {
        const expected = await graphProducts(checkpoint, kernel, null, names, x, WIDTH);
        const loaded = linears.load(...names);
        for (const together of [1, 3])
          rowProducts(memory, loaded, x, WIDTH, together).forEach((found, i) => {
            // -0 is 0: a row of zeros becomes some numbers, whose sign is left.
            assert.ok(
              found === expected[i],
              `row ${Math.floor(i / loaded.outputs)}, output ${i % loaded.outputs}: ${found} ${expected[i]}`,
            );
          });
      }
    });

  it("gives the graph's products of blocks and float32 rows up to the order of sums", async () => {
    const memory = RowMemory.create()!;
    const linears = new RowLinears(memory, checkpoint, 63);
    for (const [title, inputs, names] of forms.filter(([title]) => !title.includes("int8"))) {
      // Rows and blocks of other sizes, and of zeros.
      const x = randomNumbers(9 * inputs).map(
        (value, i) => value * [1, 1e-6, 1e6][Math.floor(i / inputs) % 3] * [1, 0.1, 0, 3][Math.floor(i / 32) % 4],
      );
      const expected = await graphProducts(checkpoint, "rows-narrow", null, names, x, inputs);
      checkClose(rowProducts(memory, linears.load(...names), x, inputs), expected, 9, title);
    }
  });

  it("gives rows that are multiplied together the bits that each has alone, with an adapter too", () => {
    const memory = RowMemory.create()!;
    const linears = new RowLinears(memory, checkpoint, 63);
    const loaded = forms.map(([, , names]) => linears.load(...names));
    for (const adapter of [
      null,
      adapterOf(
        3,
        forms.map(([, , names]) => names.at(-1)!),
      ),
    ]) {
      linears.useAdapter(adapter);
      forms.forEach(([title, inputs], i) => {
        const x = randomNumbers(12 * inputs);
        const alone = rowProducts(memory, loaded[i], x, inputs);
        for (const together of [2, 5])
          assert.deepEqual(rowProducts(memory, loaded[i], x, inputs, together), alone, title);
      });
    }
  });

  it("adds side paths as the graph does, whichever of some joined layers have them, and changes them", async () => {
    const memory = RowMemory.create()!;
    const linears = new RowLinears(memory, checkpoint, 63);
    const loaded = forms.map(([, , names]) => linears.load(...names));
    const all = forms.flatMap(([, , names]) => names);
    const [middle, ends] = [
      all.filter((name) => name.includes("k_proj")),
      all.filter((name) => !name.includes("k_proj")),
    ];
    const bare: Float32Array[] = [];
    for (const adapter of [
      null,
      adapterOf(3, all),
      adapterOf(3, middle),
      adapterOf(8, ends),
      // The same ranks again, whose numbers take the others' places.
      adapterOf(3, ends),
      { rank: 1, alpha: 1, parts: new Map() },
      null,
    ]) {
      linears.useAdapter(adapter);
      for (const [i, [title, inputs, names]] of forms.entries()) {
        const x = Float32Array.from({ length: 3 * inputs }, (_, at) => Math.sin(at * 0.7 + i));
        const found = rowProducts(memory, loaded[i], x, inputs, 3);
        checkClose(found, await graphProducts(checkpoint, "rows-narrow", adapter, names, x, inputs), 3, title);
        if (adapter === null) assert.deepEqual(found, (bare[i] ??= found), title);
        else if (names.some((name) => adapter.parts.has(name))) assert.notDeepEqual(found, bare[i], title);
      }
    }
    const end = memory.allocate(0);
    for (let i = 0; i < 3; i++) linears.useAdapter(adapterOf(3, all));
    assert.equal(memory.allocate(0), end, "adapters of the same ranks take more and more memory");
  });

  it("gives products of float32 where they are to be exact, whatever weights are stored as, with side paths too", async () => {
    const memory = RowMemory.create()!;
    for (const [title, inputs, names] of forms) {
      const linears = new RowLinears(memory, checkpoint, 63);
      const loaded = linears.loadFloats(...names);
      const x = randomNumbers(4 * inputs);
      for (const adapter of [null, adapterOf(2, names)]) {
        linears.useAdapter(adapter);
        const expected = await graphProducts(checkpoint, "float32", adapter, names, x, inputs);
        checkClose(rowProducts(memory, loaded, x, inputs), expected, 4, title);
      }
    }
  });

  it("joins layers that are stored in different forms", () => {
    const memory = RowMemory.create()!;
    const names = queryKeyValue(layer);
    const float = openCheckpoint(path("float"));
    for (const floats of [names, names.slice(1), names.slice(0, 1)]) {
      const tensors = new Map(checkpoint.tensors);
      for (const name of floats) tensors.set(`${name}.weight`, float.tensors.get(`${name}.weight`)!);
      // No graph to compare with: its weights must lie in one folder.
      const mixed = { ...checkpoint, tensors };
      const x = randomNumbers(4 * WIDTH);
      const loaded = new RowLinears(memory, mixed, 63).load(...names);
      const found = rowProducts(memory, loaded, x, WIDTH);
      const weights = names.flatMap((name) => [...readWeight(mixed, `${name}.weight`)]);
      const expected = Float32Array.from({ length: found.length }, (_, at) => {
        const [row, output] = [Math.floor(at / loaded.outputs), at % loaded.outputs];
        let sum = 0;
        for (let i = 0; i < WIDTH; i++) sum += x[row * WIDTH + i] * weights[output * WIDTH + i];
        return sum;
      });
      checkClose(found, expected, 4, floats.join());
    }
  });
});

/** Rows that are alike within the rounding of sums in another order. */
function checkClose(found: Float32Array, expected: Float32Array, rows: number, what: string): void {
  assert.equal(found.length, expected.length);
  const width = expected.length / rows;
  for (let row = 0; row < rows; row++) {
    const values = expected.subarray(row * width, (row + 1) * width);
    const size = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / width);
    values.forEach((value, i) => {
      const off = Math.abs(found[row * width + i] - value);
      assert.ok(off <= 1e-5 * size, `${what}, row ${row}, output ${i}: ${off} off, values are about ${size}`);
    });
  }
}
