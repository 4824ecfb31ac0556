/** `blt convert`: a checkpoint in the Hugging Face layout, its element type changed if wanted. */
import { convertCheckpoint } from "../checkpoint/convert";
import { choice } from "./arguments";
import type { Command } from "./command";
import { modelOptions } from "./model";
import { outputDetails, outputPositionals, writeModel } from "./output-model";

const dtypes = { keep: "keep", f32: "F32", f16: "F16", bf16: "BF16" } as const;

const options = {
  dtype: choice("TYPE", Object.keys(dtypes) as (keyof typeof dtypes)[], "type of the weights (default keep)"),
  ...modelOptions,
};

export const convertCommand: Command<typeof options> = {
  name: "convert",
  positionals: outputPositionals,
  writesFiles: true,
  summary: "write a checkpoint in the Hugging Face layout, entropy model included",
  details: ["DIR may be in Meta's layout or in Hugging Face's, int8 or not.", ...outputDetails],
  options,
  run: (given, terminal) =>
    writeModel(given, terminal, "Converting", (checkpoint, output, rest) =>
      convertCheckpoint(checkpoint, output, { ...rest, dtype: dtypes[given.values.dtype ?? "keep"] }),
    ),
};
