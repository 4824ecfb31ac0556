/** Products for the row kernels in WebAssembly. Shapes: I inputs, O outputs. */
import type { Weights } from "../checkpoint/checkpoint";
import { readBytes, readTensor, scaleName } from "../checkpoint/tensor-data";
import { ACTIVATION_BYTES, BLOCK_BYTES, BLOCK_INPUTS, packBlocks, packedBlocks } from "../kernels/blocks";
import { filledUp, OUTPUTS_TOGETHER, PAGE_BYTES, packFloats, packIntegers } from "../kernels/products";
import { type RowMemory, setArguments } from "../kernels/row-kernels";
import { integerRows, joinedFloats, partsOf } from "./product-weights";
import type { Products, RowLinear } from "./row-product";

export class WasmProducts implements Products {
  /** Values of the rows of a product so far at most, and for so many the addresses of whole numbers, magnitudes of rows, and blocks. */
  private room = 0;
  private integersAt = 0;
  private largest = 0;
  private blocksAt = 0;

  /** @param levels whole numbers on either side of zero that activations are rounded to where weights are int8 */
  constructor(
    private readonly memory: RowMemory,
    private readonly checkpoint: Weights,
    private readonly levels: number,
  ) {}

  floats(names: readonly string[], inputs: number, outputs: number): RowLinear {
    const { memory, checkpoint } = this;
    const weights = memory.place(packFloats(joinedFloats(checkpoint, names, inputs, outputs), inputs));
    return {
      outputs,
      apply: (x, out, rows) =>
        each(rows, (row) => {
          memory.kernels.floatProduct(x.at + row * x.bytes, weights, out.at + row * out.bytes, inputs, outputs);
        }),
    };
  }

  blocks(names: readonly string[], inputs: number, outputs: number): RowLinear {
    const { memory, checkpoint } = this;
    const blocks = inputs / BLOCK_INPUTS;
    const packed = packedBlocks(outputs, inputs);
    const weights = memory.allocate(packed.byteLength, PAGE_BYTES);
    let first = 0;
    for (const name of names) {
      const numbers = readBytes(checkpoint.tensors.get(`${name}.weight`)!);
      const scales = readTensor(checkpoint.tensors.get(scaleName(`${name}.weight`))!);
      packBlocks(memory.bytes(weights, packed.byteLength), packed, first, numbers, scales, blocks);
      first += scales.length / blocks;
    }
    const groups = outputs / OUTPUTS_TOGETHER;
    const { parts, groupsOfPart } = partsOf(groups, OUTPUTS_TOGETHER * blocks * BLOCK_BYTES);
    const rowBytes = blocks * ACTIVATION_BYTES;
    const { streamBytes, scalesAt } = packed;
    const job = memory.job("multiplyBlocks", {
      weights,
      streamBytes,
      scales: weights + scalesAt,
      blocks,
      groups: groupsOfPart,
      allGroups: groups,
    });
    const places = job.places("x", "rows", "out", "outBytes");
    return {
      outputs,
      apply: (from, out, rows) => {
        this.makeRoom(rows * inputs);
        setArguments(job, places, this.blocksAt, rows, out.at, out.bytes);
        each(rows, (row) => {
          memory.kernels.quantizeBlocks(from.at + row * from.bytes, this.blocksAt + row * rowBytes, inputs);
        });
        job.run(parts);
      },
    };
  }

  integers(names: readonly string[], inputs: number, outputs: number): RowLinear {
    const { memory, checkpoint, levels } = this;
    const { rows, scales } = integerRows(checkpoint, names, inputs, outputs, filledUp(outputs));
    const step = Math.fround(1 / levels);
    const { packed, streamBytes } = packIntegers(rows, inputs);
    const weights = memory.place(packed, PAGE_BYTES);
    const steps = memory.place(scales.map((scale) => step * scale));
    const groups = filledUp(outputs) / OUTPUTS_TOGETHER;
    const { parts, groupsOfPart } = partsOf(groups, OUTPUTS_TOGETHER * inputs);
    const job = memory.job("multiplyIntegers", {
      weights,
      streamBytes,
      scales: steps,
      inputs,
      groups: groupsOfPart,
      allGroups: groups,
    });
    const places = job.places("integers", "largest", "rows", "out", "outBytes");
    return {
      outputs,
      apply: (x, out, rows) => {
        this.makeRoom(rows * inputs);
        setArguments(job, places, this.integersAt, this.largest, rows, out.at, out.bytes);
        each(rows, (row) => {
          const integers = this.integersAt + 2 * row * inputs;
          memory.floats[this.largest / 4 + row] = memory.kernels.quantize(x.at + row * x.bytes, integers, inputs, step);
        });
        job.run(parts);
      },
    };
  }

  private makeRoom(values: number): void {
    if (values <= this.room) return;
    this.room = values;
    this.integersAt = this.memory.allocate(2 * values);
    this.largest = this.memory.allocateFloats(values);
    this.blocksAt = this.memory.allocate(Math.ceil(values / BLOCK_INPUTS) * ACTIVATION_BYTES);
  }
}

function each(rows: number, run: (row: number) => void): void {
  for (let row = 0; row < rows; row++) run(row);
}
