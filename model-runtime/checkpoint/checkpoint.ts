/**
 * A checkpoint on disk: its configuration and where each tensor's bytes lie. Weights are not read here;
 * graphs point into the files, and tables too large for memory are read row by row.
 */
import type { BltConfig } from "./config";

/** `U8` is two 4-bit numbers a byte, in blocks (docs/checkpoint-format.md). */
export type Dtype = "F32" | "F16" | "BF16" | "I8" | "U8";

/** Where one tensor lies. `name` is the Hugging Face name, whatever the file's layout (blt-spec section 10). */
export interface TensorLocation {
  name: string;
  dtype: Dtype;
  shape: number[];
  /** File name inside `directory`. */
  file: string;
  /** Folder the file lies in: the checkpoint's, or the entropy model's own. */
  directory: string;
  /** Byte offset in the file, and length in bytes. */
  offset: number;
  length: number;
}

/** Weights by name, whatever the model is that they belong to. */
export interface Weights {
  directory: string;
  tensors: ReadonlyMap<string, TensorLocation>;
}

export interface Checkpoint extends Weights {
  config: BltConfig;
  /** Hash tables in slot order (function-major, then group size), `hash.vocab` rows each, wherever they lie; I8 tables come with `scales`. */
  hashTables: HashTableLocation[];
}

export interface HashTableLocation extends TensorLocation {
  /** F32 scale of each row when `dtype` is I8. */
  scales: TensorLocation | null;
}
