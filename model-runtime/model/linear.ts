/**
 * A linear layer as graph nodes: x * transpose(W), W as it lies in the checkpoint ([out, in], row-major).
 * Everything done to the weight (cast, transposition, joining of several layers) is folded into a constant by
 * onnxruntime when the session is made.
 * Shapes: N rows, I inputs, O outputs.
 */
import type { TensorLocation, Weights } from "../checkpoint/checkpoint";
import { BLOCK_SIZE, minimumName } from "../checkpoint/tensor-data";
import type { Graph, Value } from "../graph/graph";

/**
 * How int8 weights are multiplied:
 * - `rows`: each row of activations becomes 8 bit with a scale of its own, weights stay signed (for processors with
 *   dot-product instructions);
 * - `rows-narrow`: the same with activations of 7 bits, whose products do not saturate where pairs are summed in 16 bits (AVX2);
 * - `blocked`: `MatMulNBits`, activations become 8 bit in blocks of a row;
 * - `float32`: weights are expanded to float32 at load.
 *
 * In all of them a row's result does not depend on the rows it runs with; only what the row kernels run (`row-networks.ts`) may be
 * rounded otherwise alone than among others.
 */
export const int8Kernels = ["rows", "rows-narrow", "blocked", "float32"] as const;
export type Int8Kernel = (typeof int8Kernels)[number];

/** Whole numbers on either side of zero that a kernel rounds rows of activations to; null where it rounds them otherwise. */
export function rowLevels(kernel: Int8Kernel): number | null {
  return kernel === "rows" ? 127 : kernel === "rows-narrow" ? 63 : null;
}

/** Weight [I, O], scales [O], and the largest input where that is known for all rows, so that none has to be looked for in each. */
export interface Int8Rows {
  weight: Value;
  scales: Value;
  range: number | null;
}

/** What layers need to become nodes: the graph, where weights lie, and which kernel int8 weights use. */
export interface GraphContext {
  graph: Graph;
  checkpoint: Weights;
  int8Kernel: Int8Kernel;
  /** Float32 weights by tensor name, where the graph does not map them from the checkpoint (training feeds them). */
  given?: (name: string) => Value;
  /** Int8 rows of joined layers, where they are not the checkpoint's; null for a layer that has none. */
  rows?: (graph: Graph, names: readonly string[]) => Int8Rows | null;
  /** Whether new keys and values are put behind those of the past before they are multiplied: quicker for many rows, slower for a few. */
  joinsPast?: boolean;
  /** Whether new keys and values of self-attention are rounded (byte-keys.ts), as the native kernels keep those of networks without a window. */
  byteKeys?: boolean;
  /** Adds to the product of linear layers; `names` as in `linear`. */
  adapter?: (graph: Graph, x: Value, names: readonly string[], product: Value) => Value;
}

/** A weight of the checkpoint as float32, in its own shape. Not for int8 tensors. */
export function floatWeight({ graph, checkpoint, given }: GraphContext, name: string): Value {
  if (given) return given(name);
  const value = graph.weight(location(checkpoint, name));
  return value.type === "float32" ? value : castToFloat(graph, value);
}

/**
 * Applies one linear layer, or several to the same input in one product.
 * @param x [N, I]
 * @param names tensor names without `.weight`, each [O_i, I]
 * @returns [N, sum of O_i]
 */
export function linear(context: GraphContext, x: Value, ...names: string[]): Value {
  const product = context.given ? givenLinear(context, x, names) : storedLinear(context, x, names);
  return context.adapter ? context.adapter(context.graph, x, names, product) : product;
}

/** A product for each weight: joined weights would be copied in each run. */
function givenLinear({ graph, given }: GraphContext, x: Value, names: readonly string[]): Value {
  const products = names.map((name) => {
    const weight = given!(`${name}.weight`);
    return graph.node("Gemm", [x, weight], [x.shape[0], weight.shape[0]], { attributes: { transB: 1 } });
  });
  if (products.length === 1) return products[0];
  const outputs = products.reduce((sum, { shape }) => sum + (shape[1] as number), 0);
  return graph.node("Concat", products, [x.shape[0], outputs], { attributes: { axis: 1 } });
}

function storedLinear(context: GraphContext, x: Value, names: readonly string[]): Value {
  const { graph, checkpoint, int8Kernel } = context;
  const rows = context.rows?.(graph, names);
  if (rows) return rows.range === null ? rowsLinear(graph, x, rows, 127) : rangedLinear(graph, x, rows, rows.range);
  const locations = names.map((name) => location(checkpoint, `${name}.weight`));
  const outputs = locations.reduce((sum, { shape }) => sum + shape[0], 0);
  const shape = [x.shape[0], outputs];
  if (locations.every(({ dtype }) => dtype === "U8")) return blockLinear(context, x, names);
  if (locations.every(({ dtype }) => dtype === "I8")) {
    const weight = join(
      graph,
      locations.map((l) => graph.weight(l)),
    );
    const scales = join(
      graph,
      names.map((name) => graph.weight(location(checkpoint, `${name}.weight_scale`))),
    );
    return int8Linear(graph, x, weight, scales, int8Kernel);
  }
  const weight = join(
    graph,
    names.map((name) =>
      checkpoint.tensors.get(`${name}.weight`)?.dtype === "I8"
        ? dequantize(
            graph,
            graph.weight(location(checkpoint, `${name}.weight`)),
            graph.weight(location(checkpoint, `${name}.weight_scale`)),
          )
        : floatWeight(context, `${name}.weight`),
    ),
  );
  return graph.node("Gemm", [x, weight], shape, { attributes: { transB: 1 } });
}

/**
 * A linear layer of int8 rows.
 * @param weight int8 [O, I]
 * @param scales [O]
 */
export function int8Linear(graph: Graph, x: Value, weight: Value, scales: Value, kernel: Int8Kernel): Value {
  const [outputs, inputs] = weight.shape as number[];
  const shape = [x.shape[0], outputs];
  const block = [128, 64, 32, 16].find((size) => inputs % size === 0);
  if (kernel === "float32" || (kernel === "blocked" && block === undefined))
    return graph.node("Gemm", [x, dequantize(graph, weight, scales)], shape, { attributes: { transB: 1 } });
  const levels = rowLevels(kernel);
  if (levels !== null) {
    const transposed = graph.node("Transpose", [weight], [inputs, outputs], { attributes: { perm: [1, 0] } });
    return rowsLinear(graph, x, { weight: transposed, scales }, levels);
  }
  // Unsigned with zero point 128: the sign bit flipped.
  const bits = graph.node("Cast", [weight], weight.shape, { type: "uint8", attributes: { to: 2 } });
  const unsigned = graph.node("BitwiseXor", [bits, graph.uint8([128])], weight.shape);
  const blocks = inputs / block!;
  const column = graph.node("Unsqueeze", [scales, graph.int64([1])], [outputs, 1]);
  const perBlock = graph.node("Expand", [column, graph.int64([outputs, blocks])], [outputs, blocks]);
  return graph.node(
    "MatMulNBits",
    [
      x,
      graph.node("Reshape", [unsigned, graph.int64([outputs, blocks, block!])], [outputs, blocks, block!]),
      graph.node("Reshape", [perBlock, graph.int64([outputs * blocks])], [outputs * blocks]),
    ],
    shape,
    {
      domain: "com.microsoft",
      // accuracy_level 4: activations are quantised to 8 bit, so products run in integers.
      attributes: { K: inputs, N: outputs, bits: 8, block_size: block!, accuracy_level: 4 },
    },
  );
}

/**
 * Linear layers of 4-bit blocks, weight = scale * q + min with q from 0 to 15 (docs/checkpoint-format.md). The kernel
 * multiplies by scale * (q - 8). That is all where blocks have no minima; else the rest is the same for all inputs of a
 * block, so it takes the block's sum.
 */
function blockLinear(context: GraphContext, x: Value, names: readonly string[]): Value {
  const { graph, checkpoint, int8Kernel } = context;
  const part = (suffix: string) =>
    join(
      graph,
      names.map((name) => graph.weight(location(checkpoint, `${name}.weight${suffix}`))),
    );
  const [numbers, scales] = [part(""), castToFloat(graph, part("_scale"))];
  const [outputs, blocks] = numbers.shape as number[];
  const shape = [x.shape[0], outputs];
  const product = graph.node(
    "MatMulNBits",
    [x, numbers, graph.node("Reshape", [scales, graph.int64([-1])], [outputs * blocks])],
    shape,
    {
      domain: "com.microsoft",
      attributes: {
        K: blocks * BLOCK_SIZE,
        N: outputs,
        bits: 4,
        block_size: BLOCK_SIZE,
        accuracy_level: int8Kernel === "float32" ? 0 : 4,
      },
    },
  );
  if (!checkpoint.tensors.has(minimumName(`${names[0]}.weight`))) return product;
  const minima = castToFloat(graph, part("_min"));
  const offsets = graph.node(
    "Add",
    [minima, graph.node("Mul", [scales, graph.float32([8], [])], scales.shape)],
    scales.shape,
  );
  const byBlock = graph.node("Reshape", [x, graph.int64([0, blocks, BLOCK_SIZE])], [x.shape[0], blocks, BLOCK_SIZE]);
  const sums = graph.node("ReduceSum", [byBlock, graph.int64([2])], [x.shape[0], blocks], {
    attributes: { keepdims: 0 },
  });
  return graph.node("Gemm", [sums, offsets, product], shape, { attributes: { transB: 1 } });
}

/** Each row of x in whole numbers from -levels to levels with a scale of its own, times int8 rows. */
function rowsLinear(
  graph: Graph,
  x: Value,
  { weight, scales }: Pick<Int8Rows, "weight" | "scales">,
  levels: number,
): Value {
  const column = [x.shape[0], 1];
  const largest = graph.node("ReduceMax", [graph.node("Abs", [x], x.shape), graph.int64([1])], column, {
    attributes: { keepdims: 1 },
  });
  // A row of zeros becomes some numbers, and their product is multiplied by zero.
  const product = integerProduct(graph, graph.node("Div", [x, largest], x.shape), weight, scales, 1, levels);
  return graph.node("Mul", [product, largest], product.shape);
}

/** x in whole numbers, all of it with the scale of its range, times int8 rows: two nodes instead of six. */
function rangedLinear(graph: Graph, x: Value, { weight, scales }: Int8Rows, range: number): Value {
  return integerProduct(graph, x, weight, scales, range, 127);
}

/** x in `levels` steps up to `range` on either side of zero, times int8 rows. */
function integerProduct(graph: Graph, x: Value, weight: Value, scales: Value, range: number, levels: number): Value {
  const step = graph.float32([range / levels], []);
  const zero = graph.uint8([levels + 1], []);
  const integers = graph.node("QuantizeLinear", [x, step, zero], x.shape, { type: "uint8" });
  return graph.node("MatMulIntegerToFloat", [integers, weight, step, scales, zero], [x.shape[0], weight.shape[1]], {
    domain: "com.microsoft",
    type: "float32",
  });
}

function dequantize(graph: Graph, weight: Value, scales: Value): Value {
  const column = graph.node("Unsqueeze", [scales, graph.int64([1])], [...scales.shape, 1]);
  return graph.node("Mul", [castToFloat(graph, weight), column], weight.shape);
}

function castToFloat(graph: Graph, value: Value): Value {
  return graph.node("Cast", [value], value.shape, { type: "float32", attributes: { to: 1 } });
}

function join(graph: Graph, values: Value[]): Value {
  if (values.length === 1) return values[0];
  const rows = values.reduce((sum, { shape }) => sum + (shape[0] as number), 0);
  return graph.node("Concat", values, [rows, ...values[0].shape.slice(1)], { attributes: { axis: 0 } });
}

function location(checkpoint: Weights, name: string): TensorLocation {
  const found = checkpoint.tensors.get(name);
  if (!found) throw new Error(`${checkpoint.directory}: no tensor ${name}`);
  return found;
}
