/** `blt inspect`: what a checkpoint is, how large, and what a byte costs. */
import { join } from "node:path";
import type { Checkpoint } from "../checkpoint/checkpoint";
import type { PatchingConfig, TransformerConfig } from "../checkpoint/config";
import { formatConfig } from "../checkpoint/format-config";
import type { LexiconCheckpoint } from "../checkpoint/open-lexicon";
import { formatQuantization } from "../checkpoint/quantization-fields";
import { readJson } from "../checkpoint/weight-files";
import { UserError } from "../errors";
import { type Inspection, inspectCheckpoint, type Part } from "../inspect";
import { inspectLexicon, type LexiconPart } from "../inspect-lexicon";
import { isLexicon } from "../model/load-model";
import { describePatching } from "../patching/describe";
import { number } from "./arguments";
import type { Command } from "./command";
import { chooseDevice, modelOptions, openEitherKind } from "./model";
import { megabytes } from "./output-model";

const options = {
  patchLength: number(
    "BYTES",
    "mean length of a patch or piece that the cost of a byte is computed for (default 4, or that of the mode)",
  ),
  ...modelOptions,
};

export const inspectCommand: Command<typeof options> = {
  name: "inspect",
  positionals: { usage: "[DIR]", least: 0, most: 1 },
  summary: "describe a checkpoint: configuration, parameters by part, memory, cost of a byte",
  details: [
    "DIR may also be given with --model.",
    "JSON: directory, config (every setting in force; of a model with a lexicon, its file), parameters by part, weightBytes by type, textMemory (bytes a text takes, F32), flops (2 for a multiplication and its addition, matrix products only), device.",
  ],
  options,
  async run({ values, positionals: [directory] }, terminal) {
    const checkpoint = openEitherKind(values, directory);
    const usual = isLexicon(checkpoint) ? 4 : usualPatchLength(checkpoint.config.patching);
    const { patchLength = usual } = values;
    if (!(patchLength >= 1)) throw new UserError(`--patch-length must be at least 1, not ${patchLength}.`);
    const { config, inspection, facts, unit } = isLexicon(checkpoint)
      ? lexiconModel(checkpoint, patchLength)
      : blt(checkpoint, patchLength);
    const device = await chooseDevice(values.device, terminal);
    const { directory: found } = checkpoint;
    if (values.json) return terminal.writeJson({ directory: found, config, ...inspection, device });
    const lines = [found, ...facts, fact("device", device), ...figures(inspection, unit)];
    await terminal.write(`${lines.join("\n")}\n`);
  },
};

/** What is said of a checkpoint of either kind. */
interface Description {
  config: unknown;
  inspection: Inspection<string>;
  facts: string[];
  /** What one step of the latent transformer takes in. */
  unit: "patch" | "piece";
}

function usualPatchLength({ mode, patchSize }: PatchingConfig): number {
  return mode === "byte" ? 1 : mode === "static" ? patchSize : 4;
}

function blt(checkpoint: Checkpoint, patchLength: number): Description {
  const { config } = checkpoint;
  const inspection = inspectCheckpoint(checkpoint, patchLength);
  const types = Object.keys(inspection.weightBytes).filter((type) => type !== "total");
  const { functions, groupSizes, vocab } = config.hash;
  const facts = [
    fact("patching", describePatching(config.patching)),
    fact("entropy model", describe(config.patcher)),
    fact("local encoder", describe(config.encoder)),
    fact("latent transformer", describe(config.latent)),
    fact("local decoder", describe(config.decoder)),
    fact("cross-attention", `${config.crossAttentionK} vectors a patch`),
    fact("hash n-grams", `${functions} x ${vocab} rows for each length of ${groupSizes.join(", ") || "none"}`),
    fact("semantics", config.semantics),
    fact("weights", config.quantization ? formatQuantization(config.quantization).quant_method : types.join(", ")),
  ];
  return { config: formatConfig(config), inspection, facts, unit: "patch" };
}

function lexiconModel(checkpoint: LexiconCheckpoint, pieceLength: number): Description {
  const { config, directory } = checkpoint;
  const facts = [
    fact("patching", describePatching(config.patching)),
    fact("entropy model", describe(config.patcher)),
    fact("latent transformer", describe(config.latent)),
    fact("draft layer", describe(config.drafter)),
    fact("lexicon", `${grouped(config.pieces)} pieces of ${config.tokenizerFile}`),
    fact("context", `${grouped(config.maxPositions)} pieces`),
  ];
  const inspection = inspectLexicon(checkpoint, pieceLength);
  return { config: readJson(join(directory, "config.json")), inspection, facts, unit: "piece" };
}

function figures(
  { parameters, weightBytes, textMemory, flops }: Inspection<string>,
  unit: "patch" | "piece",
): string[] {
  const types = Object.entries(weightBytes).filter(([type]) => type !== "total");
  return [
    "",
    "Parameters",
    ...Object.entries(parameters).map(
      ([part, count]) => `  ${partNames[part as keyof typeof partNames].padEnd(18)} ${grouped(count).padStart(15)}`,
    ),
    "",
    "Memory",
    fact(
      "weights",
      `${megabytes(weightBytes.total)} in files (${types.map(([type, bytes]) => `${type} ${megabytes(bytes ?? 0)}`).join(", ")})`,
    ),
    fact(
      "a text",
      `${megabytes(textMemory.atStart)}, then ${grouped(textMemory.perByte)} bytes a byte and ${grouped(textMemory.perPatch)} a ${unit}`,
    ),
    "",
    `Cost, at ${flops.meanPatchLength} bytes a ${unit}`,
    fact(
      "a byte",
      `${millions(flops.perByteInAll)} MFLOP: ${millions(flops.perByte)} by itself, ${millions(flops.perPatch)} a ${unit}`,
    ),
  ];
}

function fact(name: string, value: string): string {
  return `  ${name.padEnd(18)} ${value}`;
}

const partNames: Record<Part | LexiconPart | "total", string> = {
  patcher: "entropy model",
  lexicon: "lexicon",
  hashEmbedding: "hash n-grams",
  localEncoder: "local encoder",
  latentTransformer: "latent transformer",
  localDecoder: "local decoder",
  head: "head",
  drafter: "draft layer",
  total: "total",
};

function describe(network: TransformerConfig | null): string {
  if (network === null) return "none";
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
