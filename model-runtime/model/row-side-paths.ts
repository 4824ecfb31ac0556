/**
 * Side paths of an adapter (`low-rank.ts`) beside linear layers in the row kernels: B (A x), added to what the layer makes.
 *
 * Shapes: I inputs, O outputs, r rank.
 */
import { filledUp, packFloats } from "../kernels/products";
import type { RowMemory, RowSpan } from "../kernels/row-kernels";
import type { LowRankPart } from "./low-rank";

/** The side path of one of the layers that are joined in a product: x [I] -> low [r] -> added to outputs [O] from `column` on. */
export interface SidePath {
  inputs: number;
  outputs: number;
  column: number;
  /** r, filled up to what the kernel reads. */
  rank: number;
  /** Addresses of A and B. */
  down: number;
  up: number;
}

export class SidePaths {
  /** Addresses of what adapters have, by layer and rank: the next one of that rank takes its place. */
  private readonly places = new Map<string, number>();
  /** Address of what a side path makes, low [r] and outputs [O], and how wide that may be. */
  private made = 0;
  private width = 0;

  constructor(private readonly memory: RowMemory) {}

  /**
   * Places a side path where the last one of this layer and rank was.
   * @param factor what B is multiplied with
   */
  place(name: string, { a, b, inputs, outputs }: LowRankPart, factor: number, column: number): SidePath {
    const given = a.length / inputs;
    const rank = filledUp(given);
    const up = new Float32Array(outputs * rank);
    for (let output = 0; output < outputs; output++)
      for (let i = 0; i < given; i++) up[output * rank + i] = b[output * given + i] * factor;
    const width = rank + filledUp(outputs);
    if (width > this.width) {
      this.width = width;
      this.made = this.memory.allocateFloats(width);
    }
    return {
      inputs,
      outputs,
      column,
      rank,
      down: this.put(`${name} ${rank} down`, packFloats(a, inputs)),
      up: this.put(`${name} ${rank} up`, packFloats(up, rank)),
    };
  }

  /** Adds what a side path makes of rows `x` to the rows `out`. */
  add({ inputs, outputs, column, rank, down, up }: SidePath, x: RowSpan, out: RowSpan, rows: number): void {
    const { kernels } = this.memory;
    const [low, made] = [this.made, this.made + 4 * rank];
    for (let row = 0; row < rows; row++) {
      kernels.floatProduct(x.at + row * x.bytes, down, low, inputs, rank);
      kernels.floatProduct(low, up, made, rank, outputs);
      kernels.addTo(out.at + row * out.bytes + 4 * column, made, filledUp(outputs));
    }
  }

  private put(key: string, values: Float32Array): number {
    const at = this.places.get(key) ?? this.memory.allocateFloats(values.length);
    this.places.set(key, at);
    this.memory.floats.set(values, at / 4);
    return at;
  }
}
