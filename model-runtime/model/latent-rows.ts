/**
 * The latent transformer's 4-bit blocks as int8 rows, for runs of more positions than the row kernels take: integer products of whole rows
 * are the faster ones there (docs/performance-engine.md). A row of weights, and a row of
 * activations, has one scale each; the default model was trained for that.
 *
 * Shapes: I inputs, O outputs of the layers that one product joins.
 */
import { MessageChannel } from "node:worker_threads";
import type { TensorLocation, Weights } from "../checkpoint/checkpoint";
import type { TransformerConfig } from "../checkpoint/config";
import { BLOCK_SIZE, minimumName, readBytes, readTensor, scaleName } from "../checkpoint/tensor-data";
import { OUTPUTS_TURNED } from "../kernels/expand";
import { RowMemory } from "../kernels/row-kernels";
import type { GraphContext } from "./linear";

/** Largest whole number of a weight: products of pairs with 8-bit activations stay within 16 bits where that is needed. */
const LEVELS = { wide: 127, narrow: 63 } as const;

const prefix = "model.global_transformer";
const joinedLayers = [
  ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
  ["self_attn.o_proj"],
  ["mlp.gate_proj", "mlp.up_proj"],
  ["mlp.down_proj"],
];
/** The products whose inputs are normed. */
const normedLayers = new Set([joinedLayers[0][0], joinedLayers[2][0]]);
/**
 * Largest input of these, in a stream that has a basis of its own: the mean square is 1 and no channel stands out there, so
 * that of a row's 576 the largest is 3.4 (median), 5.2 (99 %), 6.5 (of all that were looked at).
 */
const NORMED_RANGE = 6;

/** Weights of a graph in memory, as one file that the graph's locations point into. */
export interface LatentRows {
  weights: Weights;
  file: { path: string; data: Uint8Array };
  rows: NonNullable<GraphContext["rows"]>;
}

/** Whether the latent transformer's layers are all in 4-bit blocks without minima. */
export function hasPlainBlocks({ tensors }: Weights, { layers }: TransformerConfig): boolean {
  return namesOf(layers)
    .flat()
    .every((name) => tensors.get(`${name}.weight`)?.dtype === "U8" && !tensors.has(minimumName(`${name}.weight`)));
}

/** Bytes of the layers' rows, 0 where none can be made; as many again are taken for a moment while they are. */
export function latentRowsBytes(checkpoint: Weights, config: TransformerConfig): number {
  if (!canBeRows(checkpoint, config)) return 0;
  const { layers } = config;
  const sizes = namesOf(layers).map((names) => sizeOf(checkpoint, names));
  return sizes.reduce((sum, { inputs, outputs }) => sum + inputs * outputs, 0);
}

/** Whether rows can be made of the layers: they are plain blocks, and outputs are as many as are turned at a time. */
export function canBeRows(checkpoint: Weights, config: TransformerConfig): boolean {
  const isWhole = (name: string) => checkpoint.tensors.get(`${name}.weight`)!.shape[0] % OUTPUTS_TURNED === 0;
  return hasPlainBlocks(checkpoint, config) && namesOf(config.layers).flat().every(isWhole);
}

/**
 * Makes the rows.
 * @param form whether weights must not use the eighth bit, and whether the stream has a basis of its own
 * @param others tensors that the graph reads besides the layers', by the beginnings of their names
 * @returns null where the row kernels cannot be used
 */
export function makeLatentRows(
  checkpoint: Weights,
  { layers }: TransformerConfig,
  { isNarrow, isTurned }: { isNarrow: boolean; isTurned: boolean },
  others: readonly string[],
): LatentRows | null {
  const memory = RowMemory.create();
  if (memory === null) return null;
  const path = "rows";
  const products = namesOf(layers);
  const made = new Set(products.flat().flatMap((name) => [`${name}.weight`, scaleName(`${name}.weight`)]));
  const copied = [...checkpoint.tensors].filter(
    ([name]) => [prefix, ...others].some((beginning) => name.startsWith(beginning)) && !made.has(name),
  );
  const sizes = products.map((names) => sizeOf(checkpoint, names));
  const tensors = new Map<string, TensorLocation>();
  let length = 0;
  const place = (name: string, dtype: TensorLocation["dtype"], shape: number[], bytes: number) => {
    tensors.set(name, { name, dtype, shape, file: path, directory: "", offset: length, length: bytes });
    length += Math.ceil(bytes / 64) * 64;
  };
  products.forEach((names, i) => {
    const { inputs, outputs } = sizes[i];
    place(keyOf(names), "I8", [inputs, outputs], inputs * outputs);
    place(scaleName(keyOf(names)), "F32", [outputs], 4 * outputs);
  });
  for (const [name, { dtype, shape, length: bytes }] of copied) place(name, dtype, shape, bytes);

  const data = new Uint8Array(length);
  for (const [name, location] of copied) data.set(readBytes(location), tensors.get(name)!.offset);
  const room = new Room(memory, sizes);
  for (const [i, names] of products.entries()) {
    const { inputs, outputs } = sizes[i];
    const weight = new Int8Array(data.buffer, tensors.get(keyOf(names))!.offset, inputs * outputs);
    const scales = new Float32Array(data.buffer, tensors.get(scaleName(keyOf(names)))!.offset, outputs);
    room.fillRows(checkpoint, names, isNarrow ? LEVELS.narrow : LEVELS.wide, weight, scales);
  }
  const rows: LatentRows["rows"] = (graph, names) => {
    const weight = tensors.get(keyOf(names));
    if (!weight) return null;
    const isNormed = [...normedLayers].some((name) => names[0].endsWith(name));
    return {
      weight: graph.weight(weight),
      scales: graph.weight(tensors.get(scaleName(weight.name))!),
      range: isTurned && isNormed ? NORMED_RANGE : null,
    };
  };
  return { weights: { directory: "", tensors }, file: { path, data }, rows };
}

/** Gives a large array's memory back at once: an idle thread may not collect it for minutes. Nothing may read it any more. */
export function discard(data: Uint8Array): void {
  const { port1, port2 } = new MessageChannel();
  port1.postMessage(null, [data.buffer as ArrayBuffer]);
  port1.close();
  port2.close();
}

function namesOf(layers: number): string[][] {
  return Array.from({ length: layers }, (_, layer) =>
    joinedLayers.map((names) => names.map((name) => `${prefix}.layers.${layer}.${name}`)),
  ).flat();
}

function keyOf(names: readonly string[]): string {
  return names.join("+");
}

function sizeOf({ tensors }: Weights, names: readonly string[]): { inputs: number; outputs: number } {
  const shapes = names.map((name) => tensors.get(scaleName(`${name}.weight`))!.shape);
  return { inputs: shapes[0][1] * BLOCK_SIZE, outputs: shapes.reduce((sum, [rows]) => sum + rows, 0) };
}

/** Room in the kernels' memory for the largest product: its numbers, what is made of them, and what that takes. */
class Room {
  private readonly numbers: number;
  private readonly blocks: number;
  private readonly made: number;
  private readonly scratch: number;

  constructor(
    private readonly memory: RowMemory,
    sizes: readonly { inputs: number; outputs: number }[],
  ) {
    const largest = Math.max(...sizes.map(({ inputs, outputs }) => inputs * outputs));
    this.numbers = memory.allocate(largest / 2);
    this.blocks = memory.allocateFloats(largest / BLOCK_SIZE);
    this.made = memory.allocate(largest);
    this.scratch = memory.allocate(2 * 16 * OUTPUTS_TURNED);
  }

  /** Fills weight [I, O] and scales [O]. */
  fillRows(
    checkpoint: Weights,
    names: readonly string[],
    levels: number,
    weight: Int8Array,
    scales: Float32Array,
  ): void {
    const { memory, numbers, made } = this;
    const outputs = scales.length;
    let column = 0;
    for (const name of names) {
      const bytes = readBytes(checkpoint.tensors.get(`${name}.weight`)!);
      const location = checkpoint.tensors.get(scaleName(`${name}.weight`))!;
      const [rows, blocks] = location.shape;
      memory.bytes(numbers, bytes.length).set(bytes);
      const steps = this.findSteps(readTensor(location), blocks, levels);
      scales.set(steps, column);
      for (let row = 0; row < rows; row += OUTPUTS_TURNED)
        memory.kernels.expandBlocks(
          numbers + row * blocks * (BLOCK_SIZE / 2),
          this.blocks + 4 * row * blocks,
          made + column + row,
          outputs,
          blocks,
          this.scratch,
        );
      column += rows;
    }
    weight.set(memory.bytes(made, weight.length));
  }

  /** Steps [O] of rows with such scales [O, B]; leaves each block's scale divided by its row's step where the kernel reads it. */
  private findSteps(blockScales: Float32Array, blocks: number, levels: number): Float32Array {
    const { memory } = this;
    memory.kernels.blockReach(this.numbers, this.blocks, blockScales.length);
    const place = memory.floats.subarray(this.blocks / 4, this.blocks / 4 + blockScales.length);
    const reach = new Int32Array(place.slice().buffer);
    const steps = new Float32Array(blockScales.length / blocks);
    const ratios = new Float32Array(blockScales.length);
    for (let row = 0, at = 0; row < steps.length; row++, at += blocks) {
      let largest = 0;
      for (let block = at; block < at + blocks; block++) {
        const magnitude = Math.abs(blockScales[block]) * reach[block];
        if (magnitude > largest) largest = magnitude;
      }
      const step = Math.fround(largest / levels) || 1;
      steps[row] = step;
      for (let block = at; block < at + blocks; block++) ratios[block] = blockScales[block] / step;
    }
    place.set(ratios);
    return steps;
  }
}
