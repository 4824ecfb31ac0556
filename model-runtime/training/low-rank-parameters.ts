/**
 * The parameters of low-rank adaptation while it is trained: A and B of all layers in one flat vector, an input of the
 * graphs.
 *
 * Shapes: I inputs, O outputs, r rank, P parameters in all.
 */
import type { Graph, Value } from "../graph/graph";
import type { GraphContext } from "../model/linear";
import type { LowRank, LowRankPart } from "../model/low-rank";

/** Where A or B of a layer lies among the parameters. */
export interface ParameterPlace {
  layer: string;
  part: "a" | "b";
  shape: [number, number];
  offset: number;
}

/** Order and size of all parameters. */
export interface ParameterLayout {
  rank: number;
  alpha: number;
  places: readonly ParameterPlace[];
  /** P */
  size: number;
}

/** Lays out A and B of each layer; `shapes` are [O, I] by the layer's name. */
export function layOutParameters(
  shapes: ReadonlyMap<string, readonly [number, number]>,
  rank: number,
  alpha: number,
): ParameterLayout {
  const places: ParameterPlace[] = [];
  let offset = 0;
  for (const [layer, [outputs, inputs]] of shapes)
    for (const [part, shape] of [
      ["a", [rank, inputs]],
      ["b", [outputs, rank]],
    ] as const) {
      places.push({ layer, part, shape: [...shape], offset });
      offset += shape[0] * shape[1];
    }
  return { rank, alpha, places, size: offset };
}

/** A uniform in +-1/sqrt(I), as PEFT draws it; B zero, so that the model is at first the base model. */
export function initialParameters({ places, size }: ParameterLayout, random: () => number): Float32Array {
  const parameters = new Float32Array(size);
  for (const { part, shape, offset } of places) {
    if (part === "b") continue;
    const bound = 1 / Math.sqrt(shape[1]);
    for (let i = 0; i < shape[0] * shape[1]; i++) parameters[offset + i] = (2 * random() - 1) * bound;
  }
  return parameters;
}

/** The parameters as the parts of an adapter; views, not copies. */
export function lowRankOf(layout: ParameterLayout, parameters: Float32Array): LowRank {
  const parts = new Map<string, LowRankPart>();
  for (let i = 0; i < layout.places.length; i += 2) {
    const [a, b] = [layout.places[i], layout.places[i + 1]];
    const view = ({ offset, shape }: ParameterPlace) => parameters.subarray(offset, offset + shape[0] * shape[1]);
    parts.set(a.layer, { a: view(a), b: view(b), inputs: a.shape[1], outputs: b.shape[0] });
  }
  return { rank: layout.rank, alpha: layout.alpha, parts };
}

/** How a graph's linear layers take an adapter that is being trained: A and B come from `parameters` [P]. */
export function trainedAdapter(
  graph: Graph,
  parameters: Value,
  layout: ParameterLayout,
): NonNullable<GraphContext["adapter"]> {
  const sizes = layout.places.map(({ shape }) => shape[0] * shape[1]);
  const flat = graph.nodes(
    "Split",
    [parameters, graph.int64(sizes)],
    sizes.map((size) => [size]),
    { attributes: { axis: 0 } },
  );
  const values = new Map<string, Value>();
  layout.places.forEach(({ layer, part, shape }, i) => {
    values.set(`${layer}.${part}`, graph.node("Reshape", [flat[i], graph.int64(shape)], shape));
  });
  const scale = graph.float32([layout.alpha / layout.rank], []);
  return (_graph, x, names, product) => {
    if (!names.some((name) => values.has(`${name}.a`))) return product;
    // Layers that are joined are either all adapted or none: targets are kinds of layers, as the joined ones are one.
    const sides = names.map((name) => {
      const [a, b] = [values.get(`${name}.a`), values.get(`${name}.b`)];
      if (a === undefined || b === undefined)
        throw new Error(`${name} is joined with an adapted layer, but not adapted`);
      const low = graph.node("Gemm", [x, a], [x.shape[0], layout.rank], { attributes: { transB: 1 } });
      const scaled = graph.node("Mul", [low, scale], low.shape);
      return graph.node("Gemm", [scaled, b], [x.shape[0], b.shape[0]], { attributes: { transB: 1 } });
    });
    const side =
      sides.length === 1 ? sides[0] : graph.node("Concat", sides, product.shape, { attributes: { axis: 1 } });
    return graph.node("Add", [product, side], product.shape);
  };
}
