/** Products for the native kernels, of any number of rows. Shapes: I inputs, O outputs. */
import type { Weights } from "../checkpoint/checkpoint";
import { readBytes, scaleName } from "../checkpoint/tensor-data";
import { BLOCK_INPUTS } from "../kernels/blocks";
import {
  floatBits,
  inGroups,
  NATIVE_ACTIVATION_BYTES,
  nativeBlocksBytes,
  OUTPUTS_OF_GROUP,
  packNativeBlocks,
  packNativeFloats,
  packNativeIntegers,
  sumsOfIntegers,
} from "../kernels/native-jobs";
import { type RowMemory, setArguments } from "../kernels/row-kernels";
import { integerRows, joinedFloats, partsOf } from "./product-weights";
import type { Products, RowLinear } from "./row-product";

/** Rows that the leader rounds alone. */
const FEW_ROWS = 3;

/** Address of int8 rows [O, I] as the kernels read them. */
export function placeNativeIntegers(memory: RowMemory, rows: Int8Array, inputs: number): number {
  const length = inGroups(rows.length / inputs) * inputs;
  const address = memory.allocate(length);
  packNativeIntegers(memory.bytes(address, length), rows, inputs);
  return address;
}

export class NativeProducts implements Products {
  /** Bytes of rounded rows so far at most, and where they lie; rows likewise, and their largest magnitudes. */
  private room = 0;
  private rounded = 0;
  private rows = 0;
  private largest = 0;

  /** @param levels whole numbers on either side of zero that activations are rounded to where weights are int8 */
  constructor(
    private readonly memory: RowMemory,
    private readonly checkpoint: Weights,
    private readonly levels: number,
  ) {}

  blocks(names: readonly string[], inputs: number, outputs: number): RowLinear {
    const { memory, checkpoint } = this;
    const blocks = inputs / BLOCK_INPUTS;
    const length = nativeBlocksBytes(outputs, inputs);
    const weights = memory.allocate(length);
    let first = 0;
    for (const name of names) {
      const numbers = readBytes(checkpoint.tensors.get(`${name}.weight`)!);
      const bits = readBytes(checkpoint.tensors.get(scaleName(`${name}.weight`))!);
      const scales = new Uint16Array(bits.buffer, bits.byteOffset, bits.length / 2);
      packNativeBlocks(memory.bytes(weights, length), first, numbers, scales, blocks);
      first += scales.length / blocks;
    }
    const groups = inGroups(outputs) / OUTPUTS_OF_GROUP;
    const { parts, groupsOfPart } = partsOf(groups, length / groups);
    const xBytes = blocks * NATIVE_ACTIVATION_BYTES;
    const round = memory.nativeJob("roundBlocks", { outBytes: xBytes, inputs });
    const roundPlaces = round.places("x", "xBytes", "out");
    const multiply = memory.nativeJob("multiplyBlocks", {
      xBytes,
      weights,
      blocks,
      groups: groupsOfPart,
      allGroups: groups,
    });
    const multiplyPlaces = multiply.places("x", "rows", "out", "outBytes");
    return {
      outputs,
      apply: (x, out, rows) => {
        this.makeRoom(rows * xBytes, 0);
        setArguments(round, roundPlaces, x.at, x.bytes, this.rounded);
        round.run(rows, rows <= FEW_ROWS);
        setArguments(multiply, multiplyPlaces, this.rounded, rows, out.at, out.bytes);
        multiply.run(parts);
      },
    };
  }

  integers(names: readonly string[], inputs: number, outputs: number): RowLinear {
    const { memory, checkpoint, levels } = this;
    const { rows, scales } = integerRows(checkpoint, names, inputs, outputs, inGroups(outputs));
    const step = Math.fround(1 / levels);
    const groups = inGroups(outputs) / OUTPUTS_OF_GROUP;
    const { parts, groupsOfPart } = partsOf(groups, OUTPUTS_OF_GROUP * inputs);
    const round = memory.nativeJob("roundRows", { outBytes: inputs, inputs, step: floatBits(step) });
    const roundPlaces = round.places("x", "xBytes", "out", "largest");
    const multiply = memory.nativeJob("multiplyIntegers", {
      xBytes: inputs,
      weights: placeNativeIntegers(memory, rows, inputs),
      sums: memory.place(sumsOfIntegers(rows, inputs)),
      scales: memory.place(scales.map((scale) => step * scale)),
      inputs,
      groups: groupsOfPart,
      allGroups: groups,
    });
    const multiplyPlaces = multiply.places("x", "largest", "rows", "out", "outBytes");
    return {
      outputs,
      apply: (x, out, rows) => {
        this.makeRoom(rows * inputs, rows);
        setArguments(round, roundPlaces, x.at, x.bytes, this.rounded, this.largest);
        round.run(rows, rows <= FEW_ROWS);
        setArguments(multiply, multiplyPlaces, this.rounded, this.largest, rows, out.at, out.bytes);
        multiply.run(parts);
      },
    };
  }

  floats(names: readonly string[], inputs: number, outputs: number): RowLinear {
    const weights = packNativeFloats(joinedFloats(this.checkpoint, names, inputs, outputs), inputs);
    const product = floatProduct(this.memory, this.memory.place(weights), inputs, outputs, false);
    return { outputs, apply: product };
  }

  private makeRoom(bytes: number, rows: number): void {
    // What is outgrown stays allocated.
    if (bytes > this.room) {
      this.room = Math.max(bytes, 2 * this.room);
      this.rounded = this.memory.allocate(this.room);
    }
    if (rows > this.rows) {
      this.rows = Math.max(rows, 2 * this.rows);
      this.largest = this.memory.allocateFloats(this.rows);
    }
  }
}

/** Products with float32 weights as `packNativeFloats` gives them, in place of what is in `out` or added to it. */
export function floatProduct(
  memory: RowMemory,
  weights: number,
  inputs: number,
  outputs: number,
  isAdded: boolean,
): RowLinear["apply"] {
  const job = memory.nativeJob("multiplyFloats", { weights, inputs, isAdded: Number(isAdded) });
  const places = job.places("x", "xBytes", "rows", "out", "outBytes");
  const groups = inGroups(outputs) / OUTPUTS_OF_GROUP;
  return (x, out, rows) => {
    setArguments(job, places, x.at, x.bytes, rows, out.at, out.bytes);
    job.run(groups, rows * inputs * outputs < LEAST_PRODUCTS);
  };
}

/** Products of floats that are worth more than one thread. */
const LEAST_PRODUCTS = 2 ** 15;
