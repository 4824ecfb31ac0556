/** The subjects as commands and tables call them. */
export const names = {
  engineInt8: "engine, int8",
  engineInt4: "engine, 4 bits",
  engineWasm: "engine, 4 bits, no native kernels",
  engineFp32: "engine, fp32",
  llama: "llama.cpp, Q4_1",
  productsInt8: "torch products, int8",
  productsFp32: "torch products, fp32",
  transformers: "transformers, fp32",
} as const;
