/**
 * Low-rank adaptation (LoRA, arXiv 2106.09685) in use: a linear layer W gets a side path, W x + (alpha / r) B (A x),
 * beside weights in whatever form they are stored.
 *
 * Shapes: I inputs, O outputs, r rank.
 */
import type { Weights } from "../checkpoint/checkpoint";
import type { GraphContext } from "./linear";

/** The side path of one linear layer. */
export interface LowRankPart {
  /** [r, I] */
  a: Float32Array;
  /** [O, r] */
  b: Float32Array;
  inputs: number;
  outputs: number;
}

/** A learned difference to a model. */
export interface LowRank {
  rank: number;
  alpha: number;
  /** By the layer's tensor name without `.weight`. */
  parts: ReadonlyMap<string, LowRankPart>;
}

/**
 * How a graph's linear layers take a finished adapter. Layers joined in one product have one side path: their A one
 * below the other, their B in the blocks of a diagonal.
 */
export function appliedAdapter(
  { rank, alpha, parts }: LowRank,
  checkpoint: Weights,
): NonNullable<GraphContext["adapter"]> {
  return (graph, x, names, product) => {
    const adapted = names.flatMap((name) => parts.get(name) ?? []);
    if (adapted.length === 0) return product;
    const [inputs, ranks] = [adapted[0].inputs, rank * adapted.length];
    const outputs = product.shape[1] as number;
    const down = new Float32Array(ranks * inputs);
    adapted.forEach((part, i) => {
      down.set(part.a, i * rank * inputs);
    });
    // Transposed, as Gemm takes it without turning: [ranks, O].
    const up = new Float32Array(ranks * outputs);
    let [column, row] = [0, 0];
    for (const name of names) {
      const part = parts.get(name);
      const own = checkpoint.tensors.get(`${name}.weight`)!.shape[0];
      if (part !== undefined) {
        for (let output = 0; output < own; output++)
          for (let i = 0; i < rank; i++)
            up[(row + i) * outputs + column + output] = (part.b[output * rank + i] * alpha) / rank;
        row += rank;
      }
      column += own;
    }
    const low = graph.node("Gemm", [x, graph.float32(down, [ranks, inputs])], [x.shape[0], ranks], {
      attributes: { transB: 1 },
    });
    return graph.node("Gemm", [low, graph.float32(up, [ranks, outputs]), product], product.shape);
  };
}
