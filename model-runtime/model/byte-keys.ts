/**
 * Keys and values as whole numbers of 8 bits: those of a quantised latent transformer, a scale for each head of a position. A step behind a
 * long text waits for reading them as much as for the weights. They are rounded where they are made, whoever runs the network, so that
 * results of a row do not depend on who ran those before it.
 *
 * Shapes: D head width.
 */
import type { TransformerConfig } from "../checkpoint/config";
import { roundToEven } from "../checkpoint/half";
import type { Graph, Value } from "../graph/graph";

/** The largest whole number, and the least scale: of zeros. */
const LARGEST = 127;
const LEAST_SCALE = 1e-30;

/** Whether a quantised network's keys and values are rounded so (`GraphContext.byteKeys`): those without a window. */
export function hasByteKeys({ window }: TransformerConfig): boolean {
  return window === null;
}

/** Rounds stretches of `width` values, each by a scale of its own. */
export function roundToBytes(values: Float32Array, width: number): void {
  const { fround } = Math;
  for (let from = 0; from < values.length; from += width) {
    let reach = 0;
    for (let i = from; i < from + width; i++) {
      const magnitude = Math.abs(values[i]);
      // No number is larger than all.
      if (!(magnitude <= reach)) reach = magnitude;
    }
    const scale = Math.max(fround(LEAST_SCALE), fround(reach / LARGEST));
    // Whole numbers have a zero without a sign.
    for (let i = from; i < from + width; i++) values[i] = fround((roundToEven(fround(values[i] / scale)) + 0) * scale);
  }
}

/** Rounds [..., D] in a graph, each head of a position by a scale of its own. */
export function asBytes(graph: Graph, x: Value): Value {
  const magnitudes = graph.node("Abs", [x], x.shape);
  const shape = [...x.shape.slice(0, -1), 1];
  const reach = graph.node("ReduceMax", [magnitudes, graph.int64([-1])], shape, { attributes: { keepdims: 1 } });
  const constant = (value: number) => graph.float32(Float32Array.of(value), []);
  const exact = graph.node("Div", [reach, constant(LARGEST)], shape);
  const scale = graph.node("Max", [exact, constant(LEAST_SCALE)], shape);
  const whole = graph.node("Round", [graph.node("Div", [x, scale], x.shape)], x.shape);
  return graph.node("Mul", [whole, scale], x.shape);
}
