/**
 * AdamW (arXiv 1711.05101) with clipping by the global norm, as a graph over one flat vector of parameters.
 * Shapes: P parameters.
 */
import { Graph } from "../graph/graph";
import { createSession, type Session, type SessionOptions } from "../session";

export interface AdamOptions {
  beta1: number;
  beta2: number;
  epsilon: number;
  weightDecay: number;
  /** Longest gradient; a longer one is shortened to it. */
  clipNorm: number;
}

export const defaultAdam: AdamOptions = { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.01, clipNorm: 1 };

/** Parameters with their running means of gradients and of squared gradients, [P] each. */
export interface OptimizerState {
  parameters: Float32Array;
  first: Float32Array;
  second: Float32Array;
  /** Steps taken. */
  step: number;
}

export function initialState(parameters: Float32Array): OptimizerState {
  const { length } = parameters;
  return { parameters, first: new Float32Array(length), second: new Float32Array(length), step: 0 };
}

/**
 * `parameters`, `first`, `second`, `gradient` [P], `rate`, `correction1`, `correction2` [1] -> `packed`: the gradient's
 * norm, then the new parameters, first and second [P].
 */
export function adamGraph(size: number, { beta1, beta2, epsilon, weightDecay, clipNorm }: AdamOptions): Graph {
  const graph = new Graph("adamw");
  const vector = (name: string) => graph.input(name, [size]);
  const [parameters, first, second, gradient] = ["parameters", "first", "second", "gradient"].map(vector);
  const [rate, correction1, correction2] = ["rate", "correction1", "correction2"].map((name) => graph.input(name, [1]));
  const one = (value: number) => graph.float32([value], [1]);
  const apply = (op: string, a: typeof rate, b: typeof rate, shape = [size]) => graph.node(op, [a, b], shape);
  const squares = graph.node("ReduceSum", [apply("Mul", gradient, gradient), graph.int64([0])], [1]);
  const norm = graph.node("Sqrt", [squares], [1]);
  // min(1, clip / norm)
  const share = graph.node("Min", [one(1), apply("Div", one(clipNorm), apply("Max", norm, one(1e-12), [1]), [1])], [1]);
  const clipped = apply("Mul", gradient, share);
  const mean = (before: typeof rate, value: typeof rate, beta: number) =>
    apply("Add", apply("Mul", before, one(beta)), apply("Mul", value, one(1 - beta)));
  const newFirst = mean(first, clipped, beta1);
  const newSecond = mean(second, apply("Mul", clipped, clipped), beta2);
  const root = graph.node("Sqrt", [apply("Div", newSecond, correction2)], [size]);
  const update = apply("Div", apply("Div", newFirst, correction1), apply("Add", root, one(epsilon)));
  const decayed = apply("Add", update, apply("Mul", parameters, one(weightDecay)));
  const newParameters = apply("Sub", parameters, apply("Mul", decayed, rate));
  const packed = graph.node("Concat", [norm, newParameters, newFirst, newSecond], ["?"], { attributes: { axis: 0 } });
  graph.output("packed", packed);
  return graph;
}

/** The optimizer of one run. */
export class AdamW {
  private constructor(
    private readonly session: Session,
    private readonly options: AdamOptions,
  ) {}

  static async load(size: number, options: AdamOptions, session: SessionOptions): Promise<AdamW> {
    return new AdamW(await createSession(adamGraph(size, options), session), options);
  }

  /** One step; the given state stays as it is. `norm` is the gradient's before clipping; NaN and infinities show in it. */
  async step(
    state: OptimizerState,
    gradient: Float32Array,
    rate: number,
  ): Promise<{ state: OptimizerState; norm: number }> {
    const size = state.parameters.length;
    const step = state.step + 1;
    const vector = (data: Float32Array) => ({ data, shape: [size] });
    const one = (value: number) => ({ data: Float32Array.of(value), shape: [1] });
    const { packed } = await this.session.run({
      parameters: vector(state.parameters),
      first: vector(state.first),
      second: vector(state.second),
      gradient: vector(gradient),
      rate: one(rate),
      correction1: one(1 - this.options.beta1 ** step),
      correction2: one(1 - this.options.beta2 ** step),
    });
    const part = (index: number) => packed.slice(1 + index * size, 1 + (index + 1) * size);
    return { state: { parameters: part(0), first: part(1), second: part(2), step }, norm: packed[0] };
  }

  release(): Promise<void> {
    return this.session.release();
  }
}

/** Learning rate at a share of the run: linear from 0 over the warm-up, then a half cosine down to a tenth of the peak. */
export function rateAt(progress: number, peak: number, warmup: number): number {
  const at = Math.min(1, Math.max(0, progress));
  if (at < warmup) return (peak * Math.max(at, 1e-3)) / warmup;
  const along = (at - warmup) / (1 - warmup);
  return peak * (0.1 + 0.9 * 0.5 * (1 + Math.cos(Math.PI * along)));
}
