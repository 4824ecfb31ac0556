/**
 * Shapes of all values of a graph whose inputs have known sizes, operator by operator: what gradients and memory
 * estimates stand on. The shapes that builders write beside their nodes may hold names; these hold numbers only.
 */
import type { Graph } from "./graph";
import type { NodeRecord } from "./onnx-format";

export type Shape = readonly number[];

/** What a shape rule may ask about its node. */
export interface NodeInputs {
  node: NodeRecord;
  /** Of each input; null where an optional one is left out. */
  shapes: (Shape | null)[];
  /** Values of an int64 constant among the inputs. */
  wholeNumbers(input: number): number[];
}

type ShapeRule = (inputs: NodeInputs) => Shape[];

/** Shape of every value by name. Throws for a node whose operator has no rule, or whose inputs are unknown. */
export function inferShapes(graph: Graph): Map<string, Shape> {
  const shapes = new Map<string, Shape>();
  for (const { name, shape } of graph.sources) {
    const unknown = shape.find((dim) => typeof dim === "string");
    if (unknown !== undefined) throw new Error(`graph ${graph.name}: input ${name} has the unknown size ${unknown}`);
    shapes.set(name, shape as number[]);
  }
  for (const node of graph.nodeRecords) {
    const rule = shapeRules[node.opType];
    if (rule === undefined) throw new Error(`graph ${graph.name}: no shape rule for ${node.opType}`);
    const results = rule({
      node,
      shapes: node.inputs.map((name) => (name === "" ? null : shapes.get(name)!)),
      wholeNumbers(input) {
        const found = graph.wholeNumbers(node.inputs[input]);
        if (found === null) throw new Error(`graph ${graph.name}: input ${input} of ${node.opType} is no constant`);
        return found;
      },
    });
    node.outputs.forEach((name, i) => {
      shapes.set(name, results[i]);
    });
  }
  return shapes;
}

/** Shape of two values combined element by element, sizes of 1 repeated. */
export function broadcast(a: Shape, b: Shape): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, axis) => {
    const [left, right] = [a[axis - rank + a.length] ?? 1, b[axis - rank + b.length] ?? 1];
    if (left !== right && left !== 1 && right !== 1) throw new Error(`shapes [${a}] and [${b}] do not fit`);
    return left === 1 ? right : left;
  });
}

/** An axis that may count from the end, as it counts from the start. */
export function axisOf(axis: number, rank: number): number {
  return axis < 0 ? axis + rank : axis;
}

export function sizeOf(shape: Shape): number {
  return shape.reduce((product, size) => product * size, 1);
}

const same: ShapeRule = ({ shapes }) => [shapes[0]!];
const combined: ShapeRule = ({ shapes }) => [broadcast(shapes[0]!, shapes[1]!)];

const reduced: ShapeRule = ({ node, shapes, wholeNumbers }) => {
  const shape = shapes[0]!;
  const axes = (node.inputs.length > 1 ? wholeNumbers(1) : shape.map((_, axis) => axis)).map((axis) =>
    axisOf(axis, shape.length),
  );
  const keep = node.attributes.keepdims !== 0;
  return [shape.flatMap((size, axis) => (axes.includes(axis) ? (keep ? [1] : []) : [size]))];
};

const product: ShapeRule = ({ node, shapes }) => {
  const { transA, transB } = node.attributes;
  const turn = (shape: Shape, turned: boolean) => {
    const [rows, columns] = shape.slice(-2);
    return turned ? [columns, rows] : [rows, columns];
  };
  const [a, b] = [shapes[0]!, shapes[1]!];
  const [rows, inner] = turn(a, transA === 1);
  const [innerB, columns] = turn(b, transB === 1);
  if (inner !== innerB) throw new Error(`${node.opType} of [${a}] and [${b}]: ${inner} is not ${innerB}`);
  return [[...broadcast(a.slice(0, -2), b.slice(0, -2)), rows, columns]];
};

const shapeRules: Record<string, ShapeRule> = {
  Identity: same,
  Cast: same,
  Neg: same,
  Exp: same,
  Log: same,
  Sqrt: same,
  Sigmoid: same,
  QuickGelu: same,
  Softmax: same,
  LogSoftmax: same,
  SimplifiedLayerNormalization: same,
  RotaryEmbedding: same,
  ScatterElements: same,
  Add: combined,
  Sub: combined,
  Mul: combined,
  Div: combined,
  Equal: combined,
  MatMul: product,
  FusedMatMul: product,
  Gemm: product,
  ReduceSum: reduced,
  ReduceMean: reduced,
  ReduceMax: reduced,
  GatherElements: ({ shapes }) => [shapes[1]!],
  Expand: ({ shapes, wholeNumbers }) => [broadcast(shapes[0]!, wholeNumbers(1))],
  Reshape: ({ shapes, wholeNumbers }) => {
    const size = sizeOf(shapes[0]!);
    const wanted = wholeNumbers(1).map((dim, axis) => (dim === 0 ? shapes[0]![axis] : dim));
    const known = wanted.reduce((count, dim) => (dim === -1 ? count : count * dim), 1);
    return [wanted.map((dim) => (dim === -1 ? size / known : dim))];
  },
  Transpose: ({ node, shapes }) => [(node.attributes.perm as number[]).map((axis) => shapes[0]![axis])],
  Concat: ({ node, shapes }) => {
    const first = shapes[0]!;
    const axis = axisOf(node.attributes.axis as number, first.length);
    return [first.map((size, i) => (i === axis ? shapes.reduce((sum, shape) => sum + shape![i], 0) : size))];
  },
  Split: ({ node, shapes, wholeNumbers }) => {
    const shape = shapes[0]!;
    const axis = axisOf(node.attributes.axis as number, shape.length);
    return wholeNumbers(1).map((part) => shape.map((size, i) => (i === axis ? part : size)));
  },
};
