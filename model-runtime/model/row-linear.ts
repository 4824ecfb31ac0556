/** Linear layers for the row kernels: weights in their memory, as blocks, int8 or float32 as the checkpoint has them. */
import type { Dtype, Weights } from "../checkpoint/checkpoint";
import { matrixShape, minimumName, readBytes, readTensor, readWeight, scaleName } from "../checkpoint/tensor-data";
import { ACTIVATION_BYTES, BLOCK_BYTES, BLOCK_INPUTS, packBlocks, packedBlocks } from "../kernels/blocks";
import { filledUp, OUTPUTS_TOGETHER, PAGE_BYTES, packFloats, packIntegers } from "../kernels/products";
import type { RowMemory, RowSpan } from "../kernels/row-kernels";
import type { LowRank } from "./low-rank";
import { type SidePath, SidePaths } from "./row-side-paths";

/** x * transpose(W), or several such products of the same x beside each other. */
export interface RowLinear {
  /** Number of outputs; 0 to 3 values behind them are overwritten as well, up to a multiple of 4. */
  outputs: number;
  apply(x: RowSpan, out: RowSpan, rows: number): void;
}

/** Parts of a product at most, and bytes of weights in one at least: less is not worth waking up for. */
const MOST_PARTS = 64;
const LEAST_BYTES = 8192;

/** A layer in the kernels' memory: what it is made of, and the side path that an adapter gives it. */
interface LoadedLayer {
  names: readonly string[];
  sides: SidePath[];
}

export class RowLinears {
  /** Values of the rows of a product so far at most, and for so many the addresses of whole numbers, magnitudes of rows, and blocks. */
  private room = 0;
  private integers = 0;
  private largest = 0;
  private blocks = 0;
  private readonly layers: LoadedLayer[] = [];
  private readonly sidePaths: SidePaths;

  /**
   * @param levels whole numbers on either side of zero that activations are rounded to where weights are int8
   */
  constructor(
    private readonly memory: RowMemory,
    private readonly checkpoint: Weights,
    private readonly levels: number,
  ) {
    this.sidePaths = new SidePaths(memory);
  }

  /** Loads layers of the same input; `names` without `.weight`. Those that are neither all plain blocks nor all int8 become float32. */
  load(...names: string[]): RowLinear {
    const are = (dtype: Dtype) => names.every((name) => this.checkpoint.tensors.get(`${name}.weight`)!.dtype === dtype);
    const isPlain = (name: string) =>
      !this.checkpoint.tensors.has(minimumName(`${name}.weight`)) && this.shapeOf(name)[0] % OUTPUTS_TOGETHER === 0;
    if (are("U8") && names.every(isPlain))
      return this.add(names, (inputs, outputs) => this.loadBlocks(names, inputs, outputs));
    if (are("I8")) return this.add(names, (inputs, outputs) => this.loadIntegers(names, inputs, outputs));
    return this.loadFloats(...names);
  }

  /** Loads layers whose products are to be exact, whatever their weights are stored as. */
  loadFloats(...names: string[]): RowLinear {
    return this.add(names, (inputs, outputs) => this.loadExpanded(names, inputs, outputs));
  }

  private add(names: readonly string[], load: (inputs: number, outputs: number) => RowLinear): RowLinear {
    const shapes = names.map((name) => this.shapeOf(name));
    const inputs = shapes[0][1];
    const outputs = shapes.reduce((sum, [rows]) => sum + rows, 0);
    const layer: LoadedLayer = { names, sides: [] };
    this.layers.push(layer);
    const product = load(inputs, outputs);
    return {
      outputs,
      apply: (x, out, rows) => {
        product.apply(x, out, rows);
        for (const side of layer.sides) this.sidePaths.add(side, x, out, rows);
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

  private makeRoom(values: number): void {
    if (values <= this.room) return;
    this.room = values;
    this.integers = this.memory.allocate(2 * values);
    this.largest = this.memory.allocateFloats(values);
    this.blocks = this.memory.allocate(Math.ceil(values / BLOCK_INPUTS) * ACTIVATION_BYTES);
  }

  private loadExpanded(names: readonly string[], inputs: number, outputs: number): RowLinear {
    const { memory, checkpoint } = this;
    const rows = new Float32Array(outputs * inputs);
    let at = 0;
    for (const name of names) {
      const values = readWeight(checkpoint, `${name}.weight`);
      rows.set(values, at);
      at += values.length;
    }
    const weights = memory.place(packFloats(rows, inputs));
    return {
      outputs,
      apply: (x, out, rows) =>
        each(rows, (row) => {
          memory.kernels.floatProduct(x.at + row * x.bytes, weights, out.at + row * out.bytes, inputs, outputs);
        }),
    };
  }

  private loadBlocks(names: readonly string[], inputs: number, outputs: number): RowLinear {
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
    const [x, count, to, toBytes] = job.places("x", "rows", "out", "outBytes");
    return {
      outputs,
      apply: (from, out, rows) => {
        this.makeRoom(rows * inputs);
        job.values[x] = this.blocks;
        job.values[count] = rows;
        job.values[to] = out.at;
        job.values[toBytes] = out.bytes;
        each(rows, (row) => {
          memory.kernels.quantizeBlocks(from.at + row * from.bytes, this.blocks + row * rowBytes, inputs);
        });
        job.run(parts);
      },
    };
  }

  private loadIntegers(names: readonly string[], inputs: number, outputs: number): RowLinear {
    const { memory, checkpoint, levels } = this;
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
    const [at, largest, count, to, toBytes] = job.places("integers", "largest", "rows", "out", "outBytes");
    return {
      outputs,
      apply: (x, out, rows) => {
        this.makeRoom(rows * inputs);
        job.values[at] = this.integers;
        job.values[largest] = this.largest;
        job.values[count] = rows;
        job.values[to] = out.at;
        job.values[toBytes] = out.bytes;
        each(rows, (row) => {
          const integers = this.integers + 2 * row * inputs;
          memory.floats[this.largest / 4 + row] = memory.kernels.quantize(x.at + row * x.bytes, integers, inputs, step);
        });
        job.run(parts);
      },
    };
  }
}

function each(rows: number, run: (row: number) => void): void {
  for (let row = 0; row < rows; row++) run(row);
}

/** How many groups of outputs are a part, and how many parts there are. */
function partsOf(groups: number, groupBytes: number): { parts: number; groupsOfPart: number } {
  const groupsOfPart = Math.max(Math.ceil(groups / MOST_PARTS), Math.ceil(LEAST_BYTES / groupBytes));
  return { parts: Math.ceil(groups / groupsOfPart), groupsOfPart };
}
