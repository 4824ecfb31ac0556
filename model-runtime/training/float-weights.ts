/** Weights of a checkpoint as float32, whatever they are stored in: what gradients pass through. */
import type { Weights } from "../checkpoint/checkpoint";
import { BLOCK_SIZE } from "../checkpoint/find-tensor";
import { minimumName, readBytes, readTensor, readWeight, scaleName } from "../checkpoint/tensor-data";

/** A weight and its shape, [O, I] or [I]. */
export interface FloatWeight {
  data: Float32Array;
  shape: number[];
}

/** The weight `name` (with `.weight`); 4-bit blocks and int8 rows are expanded. */
export function readFloatWeight(checkpoint: Weights, name: string): FloatWeight {
  const location = checkpoint.tensors.get(name);
  if (location === undefined) throw new Error(`No tensor ${name} in ${checkpoint.directory}.`);
  if (location.dtype !== "U8") return { data: readWeight(checkpoint, name), shape: location.shape };
  const pairs = readBytes(location);
  const scales = readTensor(checkpoint.tensors.get(scaleName(name))!);
  const stored = checkpoint.tensors.get(minimumName(name));
  const minima = stored === undefined ? scales.map((scale) => -8 * scale) : readTensor(stored);
  const [outputs, blocks] = location.shape;
  const data = new Float32Array(outputs * blocks * BLOCK_SIZE);
  for (let i = 0; i < pairs.length; i++) {
    const block = Math.floor((2 * i) / BLOCK_SIZE);
    data[2 * i] = scales[block] * (pairs[i] & 15) + minima[block];
    data[2 * i + 1] = scales[block] * (pairs[i] >> 4) + minima[block];
  }
  return { data, shape: [outputs, blocks * BLOCK_SIZE] };
}
