/** Linear layers for the row kernels: weights in their memory, int8 or float32 as the checkpoint has them. */
import type { Weights } from "../checkpoint/checkpoint";
import { readBytes, readTensor, readWeight, scaleName } from "../checkpoint/tensor-data";
import { filledUp, PAGE_BYTES, packFloats, packIntegers } from "../kernels/products";
import type { RowMemory } from "../kernels/row-kernels";

/** x * transpose(W), or several such products of the same x beside each other. */
export interface RowLinear {
  /** Number of outputs; 0 to 3 values behind them are overwritten as well, up to a multiple of 4. */
  outputs: number;
  /** Addresses of x and of the outputs. */
  apply(x: number, out: number): void;
}

export class RowLinears {
  /** Address of a row in whole numbers. */
  private readonly integers: number;

  /**
   * @param levels whole numbers on either side of zero that activations are rounded to
   * @param inputs of the widest layer
   */
  constructor(
    private readonly memory: RowMemory,
    private readonly checkpoint: Weights,
    private readonly levels: number,
    inputs: number,
  ) {
    this.integers = memory.allocate(2 * inputs);
  }

  /** Loads layers of the same input, all int8 or one that is not; `names` without `.weight`. */
  load(...names: string[]): RowLinear {
    const locations = names.map((name) => this.checkpoint.tensors.get(`${name}.weight`)!);
    const inputs = locations[0].shape[1];
    const outputs = locations.reduce((sum, { shape }) => sum + shape[0], 0);
    return locations[0].dtype === "I8"
      ? this.loadIntegers(names, inputs, outputs)
      : this.loadFloats(names[0], inputs, outputs);
  }

  private loadIntegers(names: readonly string[], inputs: number, outputs: number): RowLinear {
    const { memory, checkpoint, levels, integers } = this;
    const { kernels } = memory;
    const rows = new Int8Array(outputs * inputs);
    const scales = new Float32Array(filledUp(outputs));
    const step = Math.fround(1 / levels);
    let row = 0;
    for (const name of names) {
      const location = checkpoint.tensors.get(`${name}.weight`)!;
      rows.set(new Int8Array(readBytes(location).buffer), row * inputs);
      scales.set(readTensor(checkpoint.tensors.get(scaleName(`${name}.weight`))!), row);
      row += location.shape[0];
    }
    const { packed, streamBytes } = packIntegers(rows, inputs);
    const weights = memory.place(packed, PAGE_BYTES);
    const steps = memory.place(scales.map((scale) => step * scale));
    return {
      outputs,
      apply: (x, out) => {
        const largest = kernels.quantize(x, integers, inputs, step);
        kernels.integerProduct(integers, weights, streamBytes, steps, out, inputs, outputs, largest);
      },
    };
  }

  private loadFloats(name: string, inputs: number, outputs: number): RowLinear {
    const { kernels } = this.memory;
    const weights = this.memory.place(packFloats(readWeight(this.checkpoint, `${name}.weight`), inputs));
    return { outputs, apply: (x, out) => kernels.floatProduct(x, weights, out, inputs, outputs) };
  }
}
