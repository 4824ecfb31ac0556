/** What products of rows are to whoever uses them, whichever kernels make them. Shapes: I inputs, O outputs. */
import type { RowSpan } from "../kernels/row-kernels";

/** x * transpose(W), or several such products of the same x beside each other. */
export interface RowLinear {
  /** Number of outputs; up to `SPARE_OUTPUTS` values behind them are overwritten as well. */
  outputs: number;
  apply(x: RowSpan, out: RowSpan, rows: number): void;
}

/** Values behind a product's outputs that are overwritten at most, as outputs are filled up to whole vectors. */
export const SPARE_OUTPUTS = 15;

/** Makes products of layers of the same input; `names` without `.weight`, I and O of all of them together. */
export interface Products {
  blocks(names: readonly string[], inputs: number, outputs: number): RowLinear;
  integers(names: readonly string[], inputs: number, outputs: number): RowLinear;
  floats(names: readonly string[], inputs: number, outputs: number): RowLinear;
}
