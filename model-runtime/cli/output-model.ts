/** What `blt quantize` and `blt convert` have in common: one checkpoint in, another out. */
import { statSync } from "node:fs";
import { join } from "node:path";
import type { Checkpoint } from "../checkpoint/checkpoint";
import type { OutputOptions } from "../checkpoint/convert";
import { UserError } from "../errors";
import { type ModelValues, openModel } from "./model";
import type { Terminal } from "./terminal";

/** Where the two folders stand on the command line. */
export const outputPositionals = { usage: "DIR OUT", least: 1, most: 2 };

export const outputDetails = [
  "DIR may also be given with --model DIR. OUT is made when it is not there; it appears whole or not at all. The networks are not run, so --device and --threads change nothing.",
  "JSON: directory, output, bytes.",
] as const;

/** Opens the checkpoint, lets `write` write the other one, and says what came of it. */
export async function writeModel(
  { values, positionals }: { values: ModelValues; positionals: string[] },
  terminal: Terminal,
  label: string,
  write: (checkpoint: Checkpoint, output: string, options: OutputOptions) => Promise<void>,
): Promise<void> {
  if (values.semantics === "hf") {
    throw new UserError("--semantics hf leaves out the windows, which belong into what is written; leave it out.");
  }
  // A lone name is more likely that of a model, which must not be written over, than a wish for the embedded one in it.
  if (positionals.length === 1 && values.model === undefined)
    throw new UserError(`Only ${positionals[0]} is named; give the checkpoint and the folder to write to, DIR OUT.`);
  const output = positionals[positionals.length - 1];
  const checkpoint = openModel(values, positionals.length > 1 ? positionals[0] : undefined);
  await terminal.withProgress(label, (onProgress) =>
    write(checkpoint, output, { signal: terminal.signal, onProgress }),
  );
  const { directory } = checkpoint;
  const bytes = statSync(join(output, "model.safetensors")).size;
  if (values.json) await terminal.writeJson({ directory, output, bytes });
  else await terminal.write(`${output}: ${megabytes(bytes)} of weights, made from ${directory}\n`);
}

/** Millions of bytes. */
export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 2 : 1)} MB`;
}
