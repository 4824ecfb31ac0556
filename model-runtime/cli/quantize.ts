/** `blt quantize`: a checkpoint with weights of 8 or 4 bits. */
import { quantizeCheckpoint } from "../checkpoint/quantize";
import { choice } from "./arguments";
import type { Command } from "./command";
import { modelOptions } from "./model";
import { outputDetails, outputPositionals, writeModel } from "./output-model";

const options = {
  bits: choice("BITS", ["8", "4"], "bits of a weight of the latent transformer, where others have 8 (default 8)"),
  ...modelOptions,
};

export const quantizeCommand: Command<typeof options> = {
  name: "quantize",
  positionals: outputPositionals,
  writesFiles: true,
  summary: "write a checkpoint with int8 weights, a quarter of the size of F32, or 4-bit ones",
  details: outputDetails,
  options,
  run: (given, terminal) =>
    writeModel(given, terminal, "Quantising", (checkpoint, output, rest) =>
      quantizeCheckpoint(checkpoint, output, { ...rest, bits: given.values.bits === "4" ? 4 : 8 }),
    ),
};
