import { strict as assert } from "node:assert";
import { gradientRules } from "../../../model-runtime/graph/gradient-rules";
import { gradients } from "../../../model-runtime/graph/gradients";
import { Graph, type NodeOptions, type Value } from "../../../model-runtime/graph/graph";
import { createSession, type Feeds } from "../../../model-runtime/session";

/** A node to be checked: shapes of its float inputs, and how it is built from them. */
interface Sample {
  inputs: number[][];
  build(graph: Graph, inputs: Value[]): Value;
  /** Inputs that are drawn from [0.5, 1.5] instead of around 0. */
  positive?: boolean;
}

const contrib: NodeOptions = { domain: "com.microsoft" };

function node(opType: string, inputs: number[][], shape: number[], options: NodeOptions = {}): Sample {
  return { inputs, build: (graph, values) => graph.node(opType, values, shape, options) };
}

/** At least one node of each operator that has a rule; several where attributes or broadcasting change the rule. */
const samples: Record<string, Sample[]> = {
  Identity: [node("Identity", [[2, 3]], [2, 3])],
  Neg: [node("Neg", [[2, 3]], [2, 3])],
  Exp: [node("Exp", [[2, 3]], [2, 3])],
  Log: [{ ...node("Log", [[2, 3]], [2, 3]), positive: true }],
  Sqrt: [{ ...node("Sqrt", [[2, 3]], [2, 3]), positive: true }],
  Sigmoid: [node("Sigmoid", [[2, 3]], [2, 3])],
  QuickGelu: [
    node("QuickGelu", [[2, 3]], [2, 3], { ...contrib, attributes: { alpha: { float: 1 } } }),
    node("QuickGelu", [[4]], [4], { ...contrib, attributes: { alpha: { float: 1.7 } } }),
  ],
  Add: [
    node(
      "Add",
      [
        [2, 3],
        [2, 3],
      ],
      [2, 3],
    ),
    node(
      "Add",
      [
        [2, 2, 3],
        [1, 3],
      ],
      [2, 2, 3],
    ),
  ],
  Sub: [node("Sub", [[2, 3], [3]], [2, 3])],
  Mul: [
    node(
      "Mul",
      [
        [2, 3],
        [2, 1],
      ],
      [2, 3],
    ),
    node("Mul", [[], [2, 3]], [2, 3]),
  ],
  Div: [
    {
      ...node(
        "Div",
        [
          [2, 3],
          [1, 3],
        ],
        [2, 3],
      ),
      positive: true,
    },
  ],
  MatMul: [
    node(
      "MatMul",
      [
        [2, 3],
        [3, 4],
      ],
      [2, 4],
    ),
    node(
      "MatMul",
      [
        [2, 2, 2, 3],
        [2, 1, 3, 2],
      ],
      [2, 2, 2, 2],
    ),
  ],
  FusedMatMul: [
    node(
      "FusedMatMul",
      [
        [2, 2, 2, 3],
        [2, 1, 4, 3],
      ],
      [2, 2, 2, 4],
      {
        ...contrib,
        attributes: { alpha: { float: 0.5 }, transB: 1 },
      },
    ),
    node(
      "FusedMatMul",
      [
        [2, 3],
        [3, 2],
      ],
      [2, 2],
      { ...contrib, attributes: { alpha: { float: 2 } } },
    ),
  ],
  Gemm: [
    node(
      "Gemm",
      [
        [2, 3],
        [4, 3],
      ],
      [2, 4],
      { attributes: { transB: 1 } },
    ),
    node("Gemm", [[2, 3], [3, 4], [4]], [2, 4]),
    node(
      "Gemm",
      [
        [2, 3],
        [4, 3],
        [2, 4],
      ],
      [2, 4],
      { attributes: { transB: 1 } },
    ),
  ],
  SimplifiedLayerNormalization: [
    node("SimplifiedLayerNormalization", [[3, 4], [4]], [3, 4], {
      attributes: { axis: -1, epsilon: { float: 0.01 }, stash_type: 1 },
    }),
  ],
  Softmax: [node("Softmax", [[2, 2, 3]], [2, 2, 3], { attributes: { axis: -1 } })],
  LogSoftmax: [node("LogSoftmax", [[2, 4]], [2, 4], { attributes: { axis: -1 } })],
  RotaryEmbedding: [
    {
      inputs: [[1, 2, 3, 4]],
      build: (graph, [x]) => {
        const angles = [0, 0.3, 1, 2, 4, 5];
        const cos = graph.float32(angles.map(Math.cos), [3, 2]);
        const sin = graph.float32(angles.map(Math.sin), [3, 2]);
        const options = { ...contrib, attributes: { interleaved: 1 } };
        return graph.node("RotaryEmbedding", [x, graph.int64([0]), cos, sin], [1, 2, 3, 4], options);
      },
    },
  ],
  Reshape: [
    { inputs: [[2, 6]], build: (graph, [x]) => graph.node("Reshape", [x, graph.int64([3, -1])], [3, 4]) },
    { inputs: [[2, 6]], build: (graph, [x]) => graph.node("Reshape", [x, graph.int64([0, 2, 3])], [2, 2, 3]) },
  ],
  Transpose: [node("Transpose", [[2, 3, 4]], [4, 2, 3], { attributes: { perm: [2, 0, 1] } })],
  Expand: [{ inputs: [[2, 1]], build: (graph, [x]) => graph.node("Expand", [x, graph.int64([3, 2, 4])], [3, 2, 4]) }],
  Concat: [
    node(
      "Concat",
      [
        [2, 3],
        [2, 1],
        [2, 2],
      ],
      [2, 6],
      { attributes: { axis: -1 } },
    ),
  ],
  Split: [
    {
      inputs: [[5, 2]],
      // The middle part is not used: its gradient is zero.
      build: (graph, [x]) => {
        const shapes = [
          [2, 2],
          [1, 2],
          [2, 2],
        ];
        const parts = graph.nodes("Split", [x, graph.int64([2, 1, 2])], shapes, { attributes: { axis: 0 } });
        return graph.node("Mul", [parts[0], parts[2]], [2, 2]);
      },
    },
  ],
  ReduceSum: [
    {
      inputs: [[2, 3, 2]],
      build: (graph, [x]) => graph.node("ReduceSum", [x, graph.int64([1])], [2, 2], { attributes: { keepdims: 0 } }),
    },
    node("ReduceSum", [[2, 3]], [], { attributes: { keepdims: 0 } }),
  ],
  ReduceMean: [
    { inputs: [[2, 3, 2]], build: (graph, [x]) => graph.node("ReduceMean", [x, graph.int64([-1])], [2, 3, 1]) },
  ],
  GatherElements: [
    {
      inputs: [[2, 4]],
      // The same element twice: its gradients add up.
      build: (graph, [x]) =>
        graph.node("GatherElements", [x, graph.int64([1, 1, 3, 0], [2, 2])], [2, 2], { attributes: { axis: 1 } }),
    },
  ],
};

const size = (shape: number[]) => shape.reduce((product, dim) => product * dim, 1);

/** Numbers that are the same in every run. */
function numbers(count: number, seed: number, positive: boolean): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => {
    const wave = Math.sin(12.9898 * (i + 1) + 78.233 * seed);
    return positive ? 1 + wave / 2 : 1.5 * wave;
  });
}

async function check(sample: Sample): Promise<void> {
  const graph = new Graph("sample");
  const inputs = sample.inputs.map((shape, i) => graph.input(`x${i}`, shape));
  const z = sample.build(graph, inputs);
  const count = size(z.shape as number[]);
  const weights = graph.float32(numbers(count, 7, false), z.shape as number[]);
  const weighted = graph.node("Mul", [z, weights], z.shape);
  const loss = graph.node("ReduceSum", [weighted], [], { attributes: { keepdims: 0 } });
  graph.output("loss", loss);
  gradients(graph, loss, inputs).forEach((gradient, i) => {
    graph.output(`d${i}`, gradient);
  });
  const session = await createSession(graph, { device: "cpu", threads: 1 });
  const feeds: Feeds = {};
  sample.inputs.forEach((shape, i) => {
    feeds[`x${i}`] = { data: numbers(size(shape), i, sample.positive ?? false), shape };
  });
  const results = await session.run(feeds);
  const step = 2 ** -6;
  for (let i = 0; i < inputs.length; i++) {
    const data = feeds[`x${i}`].data as Float32Array;
    assert.equal(results[`d${i}`].length, data.length);
    for (let at = 0; at < data.length; at++) {
      const original = data[at];
      const lossAt = async (value: number) => {
        data[at] = value;
        return (await session.run(feeds)).loss[0];
      };
      // Richardson's extrapolation: the error is of the fourth power of the step.
      const slope = async (h: number) => ((await lossAt(original + h)) - (await lossAt(original - h))) / (2 * h);
      const estimate = (4 * (await slope(step)) - (await slope(2 * step))) / 3;
      data[at] = original;
      const found = results[`d${i}`][at];
      const allowed = 2e-3 * Math.max(1, Math.abs(estimate));
      assert.ok(
        Math.abs(found - estimate) < allowed,
        `input ${i}, element ${at}: ${found}, but differences ${estimate}`,
      );
    }
  }
  await session.release();
}

describe("gradients", () => {
  for (const opType of Object.keys(gradientRules))
    it(`of ${opType} are those of finite differences`, async () => {
      assert.ok(samples[opType]?.length > 0, `${opType} has a rule and no sample`);
      for (const sample of samples[opType]) await check(sample);
    });

  it("refuses by name an operator without a rule", () => {
    const graph = new Graph("refused");
    const x = graph.input("x", [2, 2]);
    const loss = graph.node("ReduceMax", [x], [], { attributes: { keepdims: 0 } });
    assert.throws(() => gradients(graph, loss, [x]), /no gradient can be taken through ReduceMax/);
  });

  it("refuses a parameter on which the loss does not depend", () => {
    const graph = new Graph("refused");
    const [x, y] = [graph.input("x", [2]), graph.input("y", [2])];
    const loss = graph.node("ReduceSum", [x], [], { attributes: { keepdims: 0 } });
    assert.throws(() => gradients(graph, loss, [y]), /does not depend on the parameter y/);
  });

  it("refuses inputs of unknown size", () => {
    const graph = new Graph("refused");
    const x = graph.input("x", ["N"]);
    const loss = graph.node("ReduceSum", [x], [], { attributes: { keepdims: 0 } });
    assert.throws(() => gradients(graph, loss, [x]), /input x has the unknown size N/);
  });

  it("adds up the gradients of a value used twice", async () => {
    const graph = new Graph("twice", { N: 2 });
    const x = graph.input("x", ["N"]);
    const square = graph.node("Mul", [x, x], [2]);
    const loss = graph.node("ReduceSum", [graph.node("Add", [square, x], [2])], [], { attributes: { keepdims: 0 } });
    graph.output("dx", gradients(graph, loss, [x])[0]);
    const session = await createSession(graph, { device: "cpu" });
    const { dx } = await session.run({ x: { data: Float32Array.of(3, -1), shape: [2] } });
    assert.deepEqual([...dx], [7, -1]);
    await session.release();
  });

  it("are the same with values computed anew between kept ones", async () => {
    const run = async (checkpointed: boolean) => {
      const graph = new Graph("layers");
      const x = graph.input("x", [4, 3]);
      const weights = [0, 1, 2].map((i) => graph.input(`w${i}`, [3, 3]));
      let hidden = x;
      const states: Value[] = [];
      for (const w of weights) {
        const normed = graph.node("SimplifiedLayerNormalization", [hidden, graph.float32([1, 1, 1])], [4, 3], {
          attributes: { axis: -1, epsilon: { float: 1e-5 }, stash_type: 1 },
        });
        const gate = graph.node("Sigmoid", [graph.node("Gemm", [normed, w], [4, 3])], [4, 3]);
        hidden = graph.node("Add", [hidden, graph.node("Mul", [gate, normed], [4, 3])], [4, 3]);
        states.push(hidden);
      }
      const loss = graph.node("ReduceSum", [graph.node("Exp", [hidden], [4, 3])], [], { attributes: { keepdims: 0 } });
      const nodesBefore = graph.nodeRecords.length;
      const found = gradients(graph, loss, [...weights, x], checkpointed ? states.slice(0, -1) : []);
      found.forEach((gradient, i) => {
        graph.output(`d${i}`, gradient);
      });
      const session = await createSession(graph, { device: "cpu" });
      const feeds: Feeds = { x: { data: numbers(12, 3, false), shape: [4, 3] } };
      for (let i = 0; i < 3; i++) feeds[`w${i}`] = { data: numbers(9, i, false), shape: [3, 3] };
      const results = await session.run(feeds);
      await session.release();
      return { results, added: graph.nodeRecords.length - nodesBefore };
    };
    const [plain, anew] = [await run(false), await run(true)];
    assert.deepEqual(anew.results, plain.results);
    assert.ok(anew.added > plain.added, "nothing was computed anew");
  });
});
