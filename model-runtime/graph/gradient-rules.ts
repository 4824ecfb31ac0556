/**
 * Gradient rules: operator -> how the gradient of its output becomes graph for the gradients of its inputs. An operator
 * that is not in the table is refused by name. Each rule is checked against finite differences in
 * test/model-runtime/graph/gradients.test.ts, from this table.
 *
 * Notation: x, y inputs, z output, dz the gradient of the loss by z (same shape as z).
 */
import type { Graph, Value } from "./graph";
import type { Attribute } from "./onnx-format";
import { axisOf, type Shape } from "./shapes";

/** A node on the way from the parameters to the loss. All shapes are numbers. */
export interface Operation {
  opType: string;
  attributes: Readonly<Record<string, Attribute>>;
  inputs: Value[];
  outputs: Value[];
  /** Inputs whose gradient is asked for. */
  wanted: boolean[];
  /** Values of an int64 constant among the inputs. */
  wholeNumbers(input: number): number[];
}

/**
 * @param dz gradient of each output; null where the loss does not depend on it
 * @returns gradient of each input that is wanted; null for others
 */
export type GradientRule = (graph: Graph, operation: Operation, dz: (Value | null)[]) => (Value | null)[];

const contrib = { domain: "com.microsoft" } as const;

export const gradientRules: Readonly<Record<string, GradientRule>> = {
  Identity: (_graph, _operation, [dz]) => [dz],
  Neg: unary((graph, dz) => negate(graph, dz)),
  Exp: unary((graph, dz, _x, z) => multiply(graph, dz, z)),
  Log: unary((graph, dz, x) => divide(graph, dz, x)),
  Sqrt: unary((graph, dz, _x, z) => divide(graph, multiply(graph, dz, scalar(graph, 0.5)), z)),
  Sigmoid: unary((graph, dz, _x, z) =>
    multiply(graph, dz, multiply(graph, z, subtract(graph, scalar(graph, 1), z, z.shape))),
  ),
  // z = x s, s = sigmoid(a x): dz/dx = s + a z (1 - s)
  QuickGelu: (graph, { inputs: [x], outputs: [z], attributes }, [dz]) => {
    const alpha = float(attributes.alpha, 1.702);
    const gate = graph.node("Sigmoid", [multiply(graph, x, scalar(graph, alpha))], x.shape);
    const rest = subtract(graph, scalar(graph, 1), gate, x.shape);
    const slope = add(graph, gate, multiply(graph, multiply(graph, z, scalar(graph, alpha)), rest));
    return [multiply(graph, dz!, slope)];
  },

  Add: (graph, { inputs, wanted }, [dz]) => inputs.map((input, i) => (wanted[i] ? sumTo(graph, dz!, input) : null)),
  Sub: (graph, { inputs, wanted }, [dz]) => [
    wanted[0] ? sumTo(graph, dz!, inputs[0]) : null,
    wanted[1] ? negate(graph, sumTo(graph, dz!, inputs[1])) : null,
  ],
  Mul: (graph, { inputs, wanted }, [dz]) =>
    inputs.map((input, i) => (wanted[i] ? sumTo(graph, multiply(graph, dz!, inputs[1 - i], dz!.shape), input) : null)),
  Div: (graph, { inputs: [x, y], outputs: [z], wanted }, [dz]) => {
    const dx = divide(graph, dz!, y);
    return [
      wanted[0] ? sumTo(graph, dx, x) : null,
      wanted[1] ? negate(graph, sumTo(graph, multiply(graph, dx, z), y)) : null,
    ];
  },

  MatMul: (graph, operation, [dz]) => productGradient(graph, operation, dz!, 1, false),
  FusedMatMul: (graph, operation, [dz]) => {
    const { transA, transBatchA, transBatchB } = operation.attributes;
    if (transA || transBatchA || transBatchB)
      throw new Error("no gradient rule for FusedMatMul with a turned left side");
    const { alpha, transB } = operation.attributes;
    return productGradient(graph, operation, dz!, float(alpha, 1), transB === 1);
  },
  Gemm: (graph, operation, [dz]) => {
    const { inputs, wanted, attributes } = operation;
    if (attributes.transA || attributes.alpha !== undefined || attributes.beta !== undefined)
      throw new Error("no gradient rule for Gemm with transA, alpha or beta");
    const [x, y] = inputs;
    const turned = attributes.transB === 1;
    const gemm = (a: Value, b: Value, shape: Value["shape"], transA: number, transB: number) =>
      graph.node("Gemm", [a, b], shape, { attributes: { transA, transB } });
    const dx = wanted[0] ? gemm(dz!, y, x.shape, 0, turned ? 0 : 1) : null;
    const dy = wanted[1] ? (turned ? gemm(dz!, x, y.shape, 1, 0) : gemm(x, dz!, y.shape, 1, 0)) : null;
    return [dx, dy, wanted[2] ? sumTo(graph, dz!, inputs[2]) : null].slice(0, inputs.length);
  },

  // z = w n, n = x r, r = 1 / sqrt(mean(x x) + e): dx = r (g - n mean(g n)), g = w dz
  SimplifiedLayerNormalization: (graph, { inputs: [x, w], attributes, wanted }, [dz]) => {
    const axes = graph.int64([-1]);
    const column = [...x.shape.slice(0, -1), 1];
    const mean = (value: Value) => graph.node("ReduceMean", [value, axes], column);
    const square = add(graph, mean(multiply(graph, x, x)), scalar(graph, float(attributes.epsilon, 1e-5)));
    const root = graph.node("Sqrt", [square], column);
    const normed = divide(graph, x, root);
    const scaled = multiply(graph, dz!, w, x.shape);
    const along = multiply(graph, normed, mean(multiply(graph, scaled, normed)));
    const dx = wanted[0] ? divide(graph, subtract(graph, scaled, along, x.shape), root) : null;
    return [dx, wanted[1] ? sumTo(graph, multiply(graph, dz!, normed), w) : null];
  },
  Softmax: (graph, { outputs: [z], attributes }, [dz]) => {
    const sum = sumOverLast(graph, multiply(graph, dz!, z), attributes);
    return [multiply(graph, z, subtract(graph, dz!, sum, z.shape))];
  },
  LogSoftmax: (graph, { outputs: [z], attributes }, [dz]) => {
    const share = graph.node("Exp", [z], z.shape);
    return [subtract(graph, dz!, multiply(graph, share, sumOverLast(graph, dz!, attributes)), z.shape)];
  },
  // A rotation is undone by the rotation through the opposite angle.
  RotaryEmbedding: (graph, { inputs: [x, positions, cos, sin], attributes }, [dz]) => {
    const back = graph.node("RotaryEmbedding", [dz!, positions, cos, negate(graph, sin)], x.shape, {
      ...contrib,
      attributes,
    });
    return [back, null, null, null];
  },

  Reshape: (graph, { inputs: [x] }, [dz]) => [reshape(graph, dz!, x.shape as number[]), null],
  Transpose: (graph, { inputs: [x], attributes }, [dz]) => {
    const perm = attributes.perm as number[];
    const inverse = perm.map((_, axis) => perm.indexOf(axis));
    return [graph.node("Transpose", [dz!], x.shape, { attributes: { perm: inverse } })];
  },
  Expand: (graph, { inputs: [x] }, [dz]) => [sumTo(graph, dz!, x), null],
  Concat: (graph, { inputs, attributes, wanted }, [dz]) => {
    const axis = axisOf(attributes.axis as number, dz!.shape.length);
    const sizes = graph.int64(inputs.map(({ shape }) => shape[axis] as number));
    const parts = graph.nodes(
      "Split",
      [dz!, sizes],
      inputs.map(({ shape }) => shape),
      { attributes: { axis } },
    );
    return parts.map((part, i) => (wanted[i] ? part : null));
  },
  Split: (graph, { inputs: [x], outputs, attributes }, dz) => {
    const parts = outputs.map((output, i) => dz[i] ?? zeros(graph, output.shape as number[]));
    return [graph.node("Concat", parts, x.shape, { attributes: { axis: attributes.axis } }), null];
  },
  ReduceSum: (graph, operation, [dz]) => [spread(graph, operation, dz!), null],
  ReduceMean: (graph, operation, [dz]) => {
    const { inputs, outputs } = operation;
    const count = (value: Value) => (value.shape as number[]).reduce((product, size) => product * size, 1);
    const share = scalar(graph, count(outputs[0]) / count(inputs[0]));
    return [spread(graph, operation, multiply(graph, dz!, share)), null];
  },
  GatherElements: (graph, { inputs: [x, indices], attributes }, [dz]) => {
    const axis = attributes.axis ?? 0;
    const into = zeros(graph, x.shape as number[]);
    return [
      graph.node("ScatterElements", [into, indices, dz!], x.shape, { attributes: { axis, reduction: "add" } }),
      null,
    ];
  },
};

type UnaryRule = (graph: Graph, dz: Value, x: Value, z: Value) => Value;

function unary(rule: UnaryRule): GradientRule {
  return (graph, { inputs: [x], outputs: [z] }, [dz]) => [rule(graph, dz!, x, z)];
}

/** z = alpha x y or alpha x transpose(y), over leading axes that broadcast. */
function productGradient(
  graph: Graph,
  { inputs: [x, y], outputs: [z], wanted }: Operation,
  dz: Value,
  alpha: number,
  turned: boolean,
): (Value | null)[] {
  if (x.shape.length < 2 || y.shape.length < 2) throw new Error("no gradient rule for MatMul with a vector");
  const fused = (a: Value, b: Value, last: Value["shape"], transA: number, transB: number) =>
    graph.node("FusedMatMul", [a, b], [...z.shape.slice(0, -2), ...last], {
      ...contrib,
      attributes: { alpha: { float: alpha }, transA, transB },
    });
  const [xLast, yLast] = [x.shape.slice(-2), y.shape.slice(-2)];
  const dx = wanted[0] ? sumTo(graph, fused(dz, y, xLast, 0, turned ? 0 : 1), x) : null;
  const dy = wanted[1] ? sumTo(graph, turned ? fused(dz, x, yLast, 1, 0) : fused(x, dz, yLast, 1, 0), y) : null;
  return [dx, dy];
}

/** Repeats the gradient of a reduction over what was reduced. */
function spread(graph: Graph, { inputs: [x, axes], wholeNumbers }: Operation, dz: Value): Value {
  const rank = x.shape.length;
  const reduced = axes === undefined ? null : wholeNumbers(1).map((axis) => axisOf(axis, rank));
  const kept = x.shape.map((size, axis) => (reduced === null || reduced.includes(axis) ? 1 : (size as number)));
  return graph.node("Expand", [reshape(graph, dz, kept), graph.int64(x.shape as number[])], x.shape);
}

function sumOverLast(graph: Graph, value: Value, attributes: Operation["attributes"]): Value {
  const last = value.shape.length - 1;
  if (axisOf((attributes.axis as number | undefined) ?? -1, value.shape.length) !== last)
    throw new Error("no gradient rule for a softmax over another axis than the last");
  return graph.node("ReduceSum", [value, graph.int64([-1])], [...value.shape.slice(0, -1), 1]);
}

/** Sums a gradient over the axes along which `target` was repeated, to the shape of `target`. */
function sumTo(graph: Graph, gradient: Value, target: Value): Value {
  const [from, to] = [gradient.shape as Shape, target.shape as Shape];
  const extra = from.length - to.length;
  const axes = from.flatMap((size, axis) => (axis < extra || (to[axis - extra] === 1 && size !== 1) ? [axis] : []));
  if (axes.length === 0) return gradient;
  const kept = from.map((size, axis) => (axes.includes(axis) ? 1 : size));
  const summed = graph.node("ReduceSum", [gradient, graph.int64(axes)], kept);
  return extra === 0 ? summed : reshape(graph, summed, [...to]);
}

function add(graph: Graph, x: Value, y: Value): Value {
  return graph.node("Add", [x, y], x.shape);
}

function subtract(graph: Graph, x: Value, y: Value, shape: Value["shape"]): Value {
  return graph.node("Sub", [x, y], shape);
}

function multiply(graph: Graph, x: Value, y: Value, shape: Value["shape"] = x.shape): Value {
  return graph.node("Mul", [x, y], shape);
}

function divide(graph: Graph, x: Value, y: Value): Value {
  return graph.node("Div", [x, y], x.shape);
}

function negate(graph: Graph, x: Value): Value {
  return graph.node("Neg", [x], x.shape);
}

function reshape(graph: Graph, x: Value, shape: number[]): Value {
  return graph.node("Reshape", [x, graph.int64(shape)], shape);
}

function scalar(graph: Graph, value: number): Value {
  return graph.float32([value], []);
}

/** Zeros that are made at run time and not kept in the file. */
function zeros(graph: Graph, shape: number[]): Value {
  return graph.node("Expand", [graph.float32([0], []), graph.int64(shape)], shape);
}

function float(attribute: Attribute | undefined, otherwise: number): number {
  if (attribute === undefined) return otherwise;
  return typeof attribute === "object" && "float" in attribute ? attribute.float : Number(attribute);
}
