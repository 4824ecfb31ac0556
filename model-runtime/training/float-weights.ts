/** Weights of a checkpoint as float32, whatever they are stored in: what gradients pass through. */
import type { Weights } from "../checkpoint/checkpoint";
import { matrixShape, readWeight } from "../checkpoint/tensor-data";

/** A weight and its shape, [O, I] or [I]. */
export interface FloatWeight {
  data: Float32Array;
  shape: number[];
}

/** The weight `name` (with `.weight`); 4-bit blocks and int8 rows are expanded. */
export function readFloatWeight(checkpoint: Weights, name: string): FloatWeight {
  const data = readWeight(checkpoint, name);
  return { data, shape: matrixShape(checkpoint.tensors.get(name)!) };
}
