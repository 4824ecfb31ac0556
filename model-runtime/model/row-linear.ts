/** Linear layers for the row kernels: weights in their memory, as blocks, int8 or float32 as the checkpoint has them. */
import type { Dtype, Weights } from "../checkpoint/checkpoint";
import { matrixShape, readBytes, readTensor, readWeight, scaleName } from "../checkpoint/tensor-data";
import { ACTIVATION_BYTES, BLOCK_INPUTS, packBlocks, packedBlocks } from "../kernels/blocks";
import { filledUp, OUTPUTS_TOGETHER, PAGE_BYTES, packFloats, packIntegers } from "../kernels/products";
import type { RowMemory } from "../kernels/row-kernels";
import type { LowRank, LowRankPart } from "./low-rank";

/** Rows of values in the kernels' memory: address of the first, and bytes from one to the next. */
export interface RowSpan {
  at: number;
  bytes: number;
}

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
  inputs: number;
  sides: SidePath[];
}

/** The side path of one of the layers that are joined: x -> low [r] -> added to outputs from `column` on. */
interface SidePath {
  /** r, filled up. */
  rank: number;
  down: number;
  up: number;
  column: number;
  outputs: number;
}

export class RowLinears {
  /** Values of the rows of a product so far at most, and for so many the addresses of whole numbers, magnitudes of rows, and blocks. */
  private room = 0;
  private integers = 0;
  private largest = 0;
  private blocks = 0;
  private readonly layers: LoadedLayer[] = [];
  /** Addresses of what an adapter has, by layer and rank: the next one of that rank takes its place. */
  private readonly places = new Map<string, number>();
  /** Address of what a side path makes, and how wide that may be. */
  private side = 0;
  private sideWidth = 0;

  /**
   * @param levels whole numbers on either side of zero that activations are rounded to where weights are int8
   */
  constructor(
    private readonly memory: RowMemory,
    private readonly checkpoint: Weights,
    private readonly levels: number,
  ) {}

  /** Loads layers of the same input; `names` without `.weight`. Those that are neither all blocks nor all int8 become float32. */
  load(...names: string[]): RowLinear {
    const are = (dtype: Dtype) => names.every((name) => this.checkpoint.tensors.get(`${name}.weight`)!.dtype === dtype);
    if (are("U8")) return this.add(names, (inputs, outputs) => this.loadBlocks(names, inputs, outputs));
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
    const layer: LoadedLayer = { names, inputs, sides: [] };
    this.layers.push(layer);
    const product = load(inputs, outputs);
    return {
      outputs,
      apply: (x, out, rows) => {
        product.apply(x, out, rows);
        for (const side of layer.sides) this.addSide(side, inputs, x, out, rows);
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
        if (adapter && part) layer.sides.push(this.placeSide(name, part, adapter.alpha / adapter.rank, column));
        column += this.shapeOf(name)[0];
      }
    }
  }

  private placeSide(name: string, { a, b, inputs, outputs }: LowRankPart, factor: number, column: number): SidePath {
    const { memory } = this;
    const rank = a.length / inputs;
    const filled = filledUp(rank);
    // As many columns as the kernel reads.
    const up = new Float32Array(outputs * filled);
    for (let output = 0; output < outputs; output++)
      for (let i = 0; i < rank; i++) up[output * filled + i] = b[output * rank + i] * factor;
    const packed = [packFloats(a, inputs), packFloats(up, filled)];
    const [downAt, upAt] = packed.map((values, i) => {
      const key = `${name} ${rank} ${i}`;
      const at = this.places.get(key) ?? memory.allocateFloats(values.length);
      this.places.set(key, at);
      memory.floats.set(values, at / 4);
      return at;
    });
    if (filled + filledUp(outputs) > this.sideWidth) {
      this.sideWidth = filled + filledUp(outputs);
      this.side = memory.allocateFloats(this.sideWidth);
    }
    return { rank: filled, down: downAt, up: upAt, column, outputs };
  }

  private addSide(
    { rank, down, up, column, outputs }: SidePath,
    inputs: number,
    x: RowSpan,
    out: RowSpan,
    rows: number,
  ) {
    const { kernels } = this.memory;
    const [low, made] = [this.side, this.side + 4 * rank];
    each(rows, (row) => {
      kernels.floatProduct(x.at + row * x.bytes, down, low, inputs, rank);
      kernels.floatProduct(low, up, made, rank, outputs);
      kernels.addTo(out.at + row * out.bytes + 4 * column, made, filledUp(outputs));
    });
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
    const { parts, groupsOfPart } = partsOf(groups, OUTPUTS_TOGETHER * blocks * 16);
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
