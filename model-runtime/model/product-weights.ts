/** Weights of layers of the same input, joined for a product. Shapes: I inputs, O outputs of all layers. */
import type { Weights } from "../checkpoint/checkpoint";
import { readBytes, readTensor, readWeight, scaleName } from "../checkpoint/tensor-data";

/** Float32 weights [O, I], whatever they are stored as. */
export function joinedFloats(
  checkpoint: Weights,
  names: readonly string[],
  inputs: number,
  outputs: number,
): Float32Array {
  const rows = new Float32Array(outputs * inputs);
  let at = 0;
  for (const name of names) {
    const values = readWeight(checkpoint, `${name}.weight`);
    rows.set(values, at);
    at += values.length;
  }
  return rows;
}

/** Int8 weights [O, I] and their scales, with zeros up to `filled` outputs. */
export function integerRows(
  checkpoint: Weights,
  names: readonly string[],
  inputs: number,
  outputs: number,
  filled: number,
): { rows: Int8Array; scales: Float32Array } {
  const rows = new Int8Array(outputs * inputs);
  const scales = new Float32Array(filled);
  let row = 0;
  for (const name of names) {
    const location = checkpoint.tensors.get(`${name}.weight`)!;
    rows.set(new Int8Array(readBytes(location).buffer), row * inputs);
    scales.set(readTensor(checkpoint.tensors.get(scaleName(`${name}.weight`))!), row);
    row += location.shape[0];
  }
  return { rows, scales };
}

/** Parts of a product at most, and bytes of weights in one at least: less is not worth waking up for. */
const MOST_PARTS = 64;
const LEAST_BYTES = 8192;

/** How many groups of outputs are a part, and how many parts there are. */
export function partsOf(groups: number, groupBytes: number): { parts: number; groupsOfPart: number } {
  const groupsOfPart = Math.max(Math.ceil(groups / MOST_PARTS), Math.ceil(LEAST_BYTES / groupBytes));
  return { parts: Math.ceil(groups / groupsOfPart), groupsOfPart };
}
