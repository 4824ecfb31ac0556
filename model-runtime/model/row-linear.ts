/** Linear layers for the row kernels: weights in their memory, as blocks, int8 or float32 as the checkpoint has them. */
import type { Dtype, Weights } from "../checkpoint/checkpoint";
import { matrixShape, minimumName } from "../checkpoint/tensor-data";
import { OUTPUTS_TOGETHER } from "../kernels/products";
import type { RowMemory } from "../kernels/row-kernels";
import type { LowRank } from "./low-rank";
import { NativeProducts } from "./native-products";
import type { Products, RowLinear } from "./row-product";
import { type SidePath, SidePaths } from "./row-side-paths";
import { WasmProducts } from "./wasm-products";

/** A layer in the kernels' memory: what it is made of, and the side path that an adapter gives it. */
interface LoadedLayer {
  names: readonly string[];
  sides: SidePath[];
}

export class RowLinears {
  private readonly layers: LoadedLayer[] = [];
  private readonly sidePaths: SidePaths;
  private readonly products: Products;

  /**
   * @param levels whole numbers on either side of zero that activations are rounded to where weights are int8
   */
  constructor(
    memory: RowMemory,
    private readonly checkpoint: Weights,
    levels: number,
  ) {
    this.sidePaths = new SidePaths(memory);
    const kind = memory.isNative ? NativeProducts : WasmProducts;
    this.products = new kind(memory, checkpoint, levels);
  }

  /** Loads layers of the same input; `names` without `.weight`. Those that are neither all plain blocks nor all int8 become float32. */
  load(...names: string[]): RowLinear {
    const are = (dtype: Dtype) => names.every((name) => this.checkpoint.tensors.get(`${name}.weight`)!.dtype === dtype);
    const isPlain = (name: string) =>
      !this.checkpoint.tensors.has(minimumName(`${name}.weight`)) && this.shapeOf(name)[0] % OUTPUTS_TOGETHER === 0;
    if (are("U8") && names.every(isPlain)) return this.add(names, "blocks");
    if (are("I8")) return this.add(names, "integers");
    return this.loadFloats(...names);
  }

  /** Loads layers whose products are to be exact, whatever their weights are stored as. */
  loadFloats(...names: string[]): RowLinear {
    return this.add(names, "floats");
  }

  private add(names: readonly string[], kind: keyof Products): RowLinear {
    const shapes = names.map((name) => this.shapeOf(name));
    const inputs = shapes[0][1];
    const outputs = shapes.reduce((sum, [rows]) => sum + rows, 0);
    const layer: LoadedLayer = { names, sides: [] };
    this.layers.push(layer);
    const product = this.products[kind](names, inputs, outputs);
    return {
      outputs,
      apply: (x, out, rows) => {
        product.apply(x, out, rows);
        for (const addSide of layer.sides) addSide(x, out, rows);
      },
    };
  }

  /** Gives the layers the side paths of an adapter, or of none. */
  useAdapter(adapter: LowRank | null): void {
    for (const layer of this.layers) {
      let column = 0;
      layer.sides = [];
      for (const name of layer.names) {
        const part = adapter?.parts.get(name);
        if (adapter && part) layer.sides.push(this.sidePaths.place(name, part, adapter.alpha / adapter.rank, column));
        column += this.shapeOf(name)[0];
      }
    }
  }

  private shapeOf(name: string): number[] {
    return matrixShape(this.checkpoint.tensors.get(`${name}.weight`)!);
  }
}
