/**
 * Side paths of an adapter (`low-rank.ts`) beside linear layers in the row kernels: B (A x), added to what the layer makes.
 *
 * Shapes: I inputs, O outputs, r rank.
 */
import { inGroups, packNativeFloats } from "../kernels/native-jobs";
import { filledUp, packFloats } from "../kernels/products";
import type { RowMemory } from "../kernels/row-kernels";
import type { LowRankPart } from "./low-rank";
import { floatProduct } from "./native-products";
import type { RowLinear } from "./row-product";

/** The side path of one of the layers that are joined in a product: adds what it makes of rows `x` to the rows `out`. */
export type SidePath = RowLinear["apply"];

export class SidePaths {
  /** Addresses of what adapters have, by layer and rank: the next one of that rank takes its place. */
  private readonly places = new Map<string, number>();
  /** Native side paths, by the same. */
  private readonly natives = new Map<string, SidePath>();
  /** Address of what a side path makes, low [r] and outputs [O], and how many values that may be. */
  private made = 0;
  private room = 0;

  constructor(private readonly memory: RowMemory) {}

  /**
   * Places a side path where the last one of this layer and rank was.
   * @param factor what B is multiplied with
   * @param column first of the product's outputs that are this layer's
   */
  place(name: string, part: LowRankPart, factor: number, column: number): SidePath {
    return this.memory.isNative
      ? this.placeNative(name, part, factor, column)
      : this.placeWasm(name, part, factor, column);
  }

  private placeWasm(name: string, { a, b, inputs, outputs }: LowRankPart, factor: number, column: number): SidePath {
    const { kernels } = this.memory;
    const rank = filledUp(a.length / inputs);
    const down = this.put(`${name} ${rank} down`, packFloats(a, inputs));
    const up = this.put(`${name} ${rank} up`, packFloats(scaled(b, outputs, rank, factor), rank));
    this.makeRoom(rank + filledUp(outputs));
    return (x, out, rows) => {
      const [low, made] = [this.made, this.made + 4 * rank];
      for (let row = 0; row < rows; row++) {
        kernels.floatProduct(x.at + row * x.bytes, down, low, inputs, rank);
        kernels.floatProduct(low, up, made, rank, outputs);
        kernels.addTo(out.at + row * out.bytes + 4 * column, made, filledUp(outputs));
      }
    };
  }

  private placeNative(name: string, { a, b, inputs, outputs }: LowRankPart, factor: number, column: number): SidePath {
    const rank = inGroups(a.length / inputs);
    const key = `${name} ${rank}`;
    const down = this.put(`${key} down`, packNativeFloats(a, inputs));
    const up = this.put(`${key} up`, packNativeFloats(scaled(b, outputs, rank, factor), rank));
    const known = this.natives.get(key);
    if (known !== undefined) return known;
    const toLow = floatProduct(this.memory, down, inputs, rank, false);
    const toOutputs = floatProduct(this.memory, up, rank, outputs, true);
    const path: SidePath = (x, out, rows) => {
      this.makeRoom(rows * rank);
      const low = { at: this.made, bytes: 4 * rank };
      toLow(x, low, rows);
      toOutputs(low, { at: out.at + 4 * column, bytes: out.bytes }, rows);
    };
    this.natives.set(key, path);
    return path;
  }

  private makeRoom(values: number): void {
    if (values <= this.room) return;
    // What is outgrown stays allocated.
    this.room = Math.max(values, 2 * this.room);
    this.made = this.memory.allocateFloats(this.room);
  }

  private put(key: string, values: Float32Array): number {
    const at = this.places.get(key) ?? this.memory.allocateFloats(values.length);
    this.places.set(key, at);
    this.memory.floats.set(values, at / 4);
    return at;
  }
}

/** B [O, r] times a factor, with columns of zeros up to `rank`. */
function scaled(b: Float32Array, outputs: number, rank: number, factor: number): Float32Array {
  const given = b.length / outputs;
  const up = new Float32Array(outputs * rank);
  for (let output = 0; output < outputs; output++)
    for (let i = 0; i < given; i++) up[output * rank + i] = b[output * given + i] * factor;
  return up;
}
