/** What is done to a network's rows between products, by the row kernels. */
import { floatBits } from "../kernels/native-jobs";
import { type RowMemory, type RowSpan, setArguments } from "../kernels/row-kernels";

export interface RowOperations {
  /** RMSNorm of rows; `weight` is the address of its weights. */
  norm(x: RowSpan, weight: number, out: RowSpan, width: number, epsilon: number, rows: number): void;
  /** Adds rows `y` to `x`. */
  add(x: RowSpan, y: RowSpan, width: number, rows: number): void;
  /** Gates [width] and the values behind them become silu(gate) * value. */
  swiGlu(x: RowSpan, width: number, rows: number): void;
}

export function rowOperations(memory: RowMemory): RowOperations {
  return memory.isNative ? nativeOperations(memory) : wasmOperations(memory);
}

function wasmOperations({ kernels }: RowMemory): RowOperations {
  const at = (rows: RowSpan, row: number) => rows.at + row * rows.bytes;
  return {
    norm(x, weight, out, width, epsilon, rows) {
      for (let row = 0; row < rows; row++) kernels.rmsNorm(at(x, row), weight, at(out, row), width, epsilon);
    },
    add(x, y, width, rows) {
      for (let row = 0; row < rows; row++) kernels.addTo(at(x, row), at(y, row), width);
    },
    swiGlu(x, width, rows) {
      for (let row = 0; row < rows; row++) kernels.swiGlu(at(x, row), width);
    },
  };
}

/** Values of rows that are worth more than one thread of the native kernels. */
export const WORTH_THREADS = 8192;

function nativeOperations(memory: RowMemory): RowOperations {
  const norm = memory.nativeJob("norm", {});
  const normPlaces = norm.places("x", "xBytes", "weight", "out", "outBytes", "width", "epsilon");
  const add = memory.nativeJob("add", {});
  const addPlaces = add.places("x", "xBytes", "y", "yBytes", "width");
  const swiGlu = memory.nativeJob("swiGlu", {});
  const swiGluPlaces = swiGlu.places("x", "xBytes", "width");
  return {
    norm(x, weight, out, width, epsilon, rows) {
      setArguments(norm, normPlaces, x.at, x.bytes, weight, out.at, out.bytes, width, floatBits(epsilon));
      norm.run(rows, rows * width < WORTH_THREADS);
    },
    add(x, y, width, rows) {
      setArguments(add, addPlaces, x.at, x.bytes, y.at, y.bytes, width);
      add.run(rows, rows * width < WORTH_THREADS);
    },
    swiGlu(x, width, rows) {
      setArguments(swiGlu, swiGluPlaces, x.at, x.bytes, width);
      swiGlu.run(rows, rows * width < WORTH_THREADS);
    },
  };
}
