/** `blt quantize`: a checkpoint with int8 weights. */
import { quantizeCheckpoint } from "../checkpoint/quantize";
import type { Command } from "./command";
import { modelOptions } from "./model";
import { outputDetails, outputPositionals, writeModel } from "./output-model";

export const quantizeCommand: Command<typeof modelOptions> = {
  name: "quantize",
  positionals: outputPositionals,
  writesFiles: true,
  summary: "write a checkpoint with int8 weights, a quarter of the size of F32",
  details: outputDetails,
  options: modelOptions,
  run: (given, terminal) => writeModel(given, terminal, "Quantising", quantizeCheckpoint),
};
