/** F32 values -> the bytes of a file's type. */
import { UserError } from "../errors";
import { toBfloat, toHalf } from "./half";
import { byteView } from "./tensor-data";

/** Types a tensor of F32 values is written in. */
export type FloatDtype = "F32" | "F16" | "BF16";

/** The values in `dtype`, rounded to nearest; `name` is for the error of a value beyond the type's range. */
export function encodeValues(values: Float32Array, dtype: FloatDtype, name: string): Uint8Array {
  if (dtype === "F32") return byteView(values);
  const encode = dtype === "F16" ? toHalf : toBfloat;
  const exponent = dtype === "F16" ? 0x7c00 : 0x7f80;
  const bits = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) {
    bits[i] = encode(values[i]);
    if ((bits[i] & exponent) === exponent) {
      throw new UserError(`Tensor ${name} holds ${values[i]}, which ${dtype} cannot; write the checkpoint as F32.`);
    }
  }
  return byteView(bits);
}
