import { setFlagsFromString } from "node:v8";
import { assemble, define, i16x8, i32, v128 } from "../../../model-runtime/kernels/assembler";

/** Whether the engine has products of bytes; Node 20 has them behind a flag, which this sets. */
export function hasRelaxedVectors(): boolean {
  if (compiles()) return true;
  setFlagsFromString("--experimental-wasm-relaxed-simd");
  return compiles();
}

function compiles(): boolean {
  const vector = v128.load(i32.const(0));
  const product = define("f", {}, "none", () => [v128.store(i32.const(0), i16x8.dotOfBytes(vector, vector))]);
  try {
    new WebAssembly.Module(assemble([product]));
    return true;
  } catch (error) {
    if (error instanceof WebAssembly.CompileError) return false;
    throw error;
  }
}
