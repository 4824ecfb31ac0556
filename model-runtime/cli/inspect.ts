/** `blt inspect`: what a checkpoint is, how large, and what a byte costs. */
import type { Checkpoint } from "../checkpoint/checkpoint";
import type { PatchingConfig, TransformerConfig } from "../checkpoint/config";
import { formatConfig } from "../checkpoint/format-config";
import { formatQuantization } from "../checkpoint/quantization-fields";
import { UserError } from "../errors";
import { type Inspection, inspectCheckpoint, type Part } from "../inspect";
import { describePatching } from "../patching/describe";
import { number } from "./arguments";
import type { Command } from "./command";
import { chooseDevice, modelOptions, openModel } from "./model";
import { megabytes } from "./output-model";

const options = {
  patchLength: number(
    "BYTES",
    "mean patch length that the cost of a byte is computed for (default 4, or that of the mode)",
  ),
  ...modelOptions,
};

export const inspectCommand: Command<typeof options> = {
  name: "inspect",
  positionals: { usage: "[DIR]", least: 0, most: 1 },
  summary: "describe a checkpoint: configuration, parameters by part, memory, cost of a byte",
  details: [
    "DIR may also be given with --model.",
    "JSON: directory, config (every setting in force), parameters by part, weightBytes by type, textMemory (bytes a text takes, F32), flops (2 for a multiplication and its addition, matrix products only), device.",
  ],
  options,
  async run({ values, positionals: [directory] }, terminal) {
    const checkpoint = openModel(values, directory);
    const patchLength = values.patchLength ?? usualPatchLength(checkpoint.config.patching);
    if (!(patchLength >= 1)) throw new UserError(`--patch-length must be at least 1, not ${patchLength}.`);
    const inspection = inspectCheckpoint(checkpoint, patchLength);
    const device = await chooseDevice(values.device, terminal);
    if (values.json) {
      const config = formatConfig(checkpoint.config);
      return terminal.writeJson({ directory: checkpoint.directory, config, ...inspection, device });
    }
    await terminal.write(`${report(checkpoint, inspection, device).join("\n")}\n`);
  },
};

function usualPatchLength({ mode, patchSize }: PatchingConfig): number {
  return mode === "byte" ? 1 : mode === "static" ? patchSize : 4;
}

function report({ directory, config }: Checkpoint, inspection: Inspection, device: string): string[] {
  const { parameters, weightBytes, textMemory, flops } = inspection;
  const networks: [string, TransformerConfig | null][] = [
    ["entropy model", config.patcher],
    ["local encoder", config.encoder],
    ["latent transformer", config.latent],
    ["local decoder", config.decoder],
  ];
  const { quantization } = config;
  const types = Object.entries(weightBytes).filter(([type]) => type !== "total");
  const { functions, groupSizes, vocab } = config.hash;
  return [
    directory,
    `  patching           ${describePatching(config.patching)}`,
    ...networks.map(([name, network]) => `  ${name.padEnd(18)} ${network === null ? "none" : describe(network)}`),
    `  cross-attention    ${config.crossAttentionK} vectors a patch`,
    `  hash n-grams       ${functions} x ${vocab} rows for each length of ${groupSizes.join(", ") || "none"}`,
    `  semantics          ${config.semantics}`,
    `  weights            ${quantization ? formatQuantization(quantization).quant_method : types.map(([type]) => type).join(", ")}`,
    `  device             ${device}`,
    "",
    "Parameters",
    ...Object.entries(parameters).map(
      ([part, count]) => `  ${partNames[part as Part | "total"].padEnd(18)} ${grouped(count).padStart(15)}`,
    ),
    "",
    "Memory",
    `  weights            ${megabytes(weightBytes.total)} in files (${types.map(([type, bytes]) => `${type} ${megabytes(bytes ?? 0)}`).join(", ")})`,
    `  a text             ${megabytes(textMemory.atStart)}, then ${grouped(textMemory.perByte)} bytes a byte and ${grouped(textMemory.perPatch)} a patch`,
    "",
    `Cost, at ${flops.meanPatchLength} bytes a patch`,
    `  a byte             ${millions(flops.perByteInAll)} MFLOP: ${millions(flops.perByte)} by itself, ${millions(flops.perPatch)} a patch`,
  ];
}

const partNames: Record<Part | "total", string> = {
  patcher: "entropy model",
  hashEmbedding: "hash n-grams",
  localEncoder: "local encoder",
  latentTransformer: "latent transformer",
  localDecoder: "local decoder",
  head: "head",
  total: "total",
};

function describe(network: TransformerConfig): string {
  const { layers, hiddenSize, heads, kvHeads, intermediateSize, window } = network;
  const keys = kvHeads === heads ? "" : ` (${kvHeads} for keys)`;
  return `${layers} ${layers === 1 ? "layer" : "layers"} x ${hiddenSize}, ${heads} heads${keys}, feed-forward ${intermediateSize}, ${window === null ? "no window" : `window ${window}`}`;
}

/** Digits in groups of three. */
function grouped(count: number): string {
  return count.toLocaleString("en");
}

function millions(operations: number): string {
  const value = operations / 1e6;
  return value >= 100 ? grouped(Math.round(value)) : value.toPrecision(3);
}
