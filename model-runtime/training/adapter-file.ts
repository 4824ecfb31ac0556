/**
 * Adapters on disk, in the layout of PEFT: `adapter_config.json` and `adapter_model.safetensors`, which
 * `PeftModel.from_pretrained` reads (docs/finetune.md, "The files"). What only we know of an adapter stands in
 * `blt_adapter.json`.
 *
 * Names: a lexicon model's latent transformer is a Llama-like model, so its layers have their Llama names there, and the
 * rows of B of queries and keys lie in halves (real parts, then imaginary parts of a head), where ours alternate.
 */
import { rmSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Dtype, Weights } from "../checkpoint/checkpoint";
import { encodeValues } from "../checkpoint/encode-values";
import { fileStatus } from "../checkpoint/file-access";
import { asFields, integer, real } from "../checkpoint/json-fields";
import { readSafetensorsHeader } from "../checkpoint/safetensors";
import { readTensor } from "../checkpoint/tensor-data";
import { readJson } from "../checkpoint/weight-files";
import { makeFolder, writeSafetensors, writeTextFile } from "../checkpoint/write-safetensors";
import { UserError } from "../errors";
import type { LowRank, LowRankPart } from "../model/low-rank";
import { fingerprint } from "./fingerprint";

export const adapterConfigName = "adapter_config.json";
export const adapterWeightsName = "adapter_model.safetensors";
export const adapterCardName = "blt_adapter.json";

/** What is known of an adapter besides its numbers. */
export interface AdapterCard {
  /** `fingerprint` of the model it was trained on. */
  base: string;
  /** ISO 8601. */
  date: string;
  files: number;
  bytes: number;
  /** Bits per byte on held-out files without and with the adapter, and the like; null where nothing was measured. */
  heldOut: { before: number; after: number } | null;
  general: { before: number; after: number } | null;
  exactMatch: { before: number; after: number } | null;
}

export interface Adapter {
  lowRank: LowRank;
  /** Null for an adapter that was made elsewhere. */
  card: AdapterCard | null;
}

/** What of a base model an adapter's file depends on. */
export interface AdapterBase {
  checkpoint: Weights;
  /** Of the latent transformer where its layers go by Llama names (lexicon models); null where names are our own. */
  llama: { heads: number; kvHeads: number; headDim: number } | null;
  /** The model by its public name, where adapters made elsewhere for it fit this checkpoint; null where none do. */
  publicName: string | null;
}

const ourPrefix = "model.global_transformer.layers.";
const llamaPrefix = "model.layers.";

/** Writes the three files to a folder, which is made if need be. */
export async function writeAdapter(folder: string, adapter: Adapter, base: AdapterBase): Promise<void> {
  makeFolder(folder);
  const { lowRank, card } = adapter;
  const tensors = [...lowRank.parts].flatMap(([layer, { a, b, inputs, outputs }]) => {
    const name = `base_model.model.${foreignName(layer, base)}`;
    const rows = rowOrder(layer, outputs, base);
    return [
      tensor(`${name}.lora_A.weight`, [lowRank.rank, inputs], a),
      tensor(`${name}.lora_B.weight`, [outputs, lowRank.rank], permuteRows(b, lowRank.rank, rows)),
    ];
  });
  await writeSafetensors(join(folder, adapterWeightsName), tensors, { metadata: { format: "pt" } });
  if (card !== null) await writeTextFile(join(folder, adapterCardName), `${JSON.stringify(card, null, 2)}\n`);
  const config = {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: base.publicName ?? "",
    inference_mode: true,
    r: lowRank.rank,
    lora_alpha: lowRank.alpha,
    lora_dropout: 0,
    bias: "none",
    fan_in_fan_out: false,
    target_modules: [...lowRank.parts.keys()].map((layer) => foreignName(layer, base)),
  };
  // Last, as a folder without it is no adapter.
  await writeTextFile(join(folder, adapterConfigName), `${JSON.stringify(config, null, 2)}\n`);
}

/** Removes an adapter's files from a folder; the one that makes it an adapter first. */
export function removeAdapter(folder: string): void {
  for (const name of [adapterConfigName, adapterWeightsName, adapterCardName])
    rmSync(join(folder, name), { force: true });
}

/** Reads and checks an adapter for this base model; throws a `UserError` that says what does not fit. */
export function readAdapter(folder: string, base: AdapterBase): Adapter {
  const root = resolve(folder);
  if (fileStatus(join(root, adapterConfigName)) === null)
    throw new UserError(`${root} holds no adapter (${adapterConfigName} is missing); name the folder of one.`);
  const where = join(root, adapterConfigName);
  const fields = asFields(readJson(where), where);
  if (fields.values.peft_type !== "LORA" || fields.values.use_dora === true || hasPatterns(fields.values))
    throw new UserError(`${where} is no plain LoRA adapter; only those can be used.`);
  const [rank, alpha] = [integer(fields, "r", { min: 1, max: 1024 }), real(fields, "lora_alpha", { min: 0 })];
  const card = readCard(join(root, adapterCardName));
  if (card !== null && card.base !== fingerprint(base.checkpoint))
    throw new UserError(
      `The adapter in ${root} was trained on another model than ${base.checkpoint.directory}; use it with that one, or train it anew.`,
    );
  if (card === null && base.llama !== null && base.publicName === null)
    throw new UserError(
      `The adapter in ${root} was made elsewhere, but the layers of ${base.checkpoint.directory} are in a basis of their own; only adapters that were trained on it here can be used.`,
    );
  const parts = readParts(root, rank, base);
  const scale = fields.values.use_rslora === true ? Math.sqrt(rank) : 1;
  return { lowRank: { rank, alpha: alpha * scale, parts }, card };
}

/** Whether layers have ranks or strengths of their own. */
function hasPatterns({ rank_pattern: ranks, alpha_pattern: alphas }: Readonly<Record<string, unknown>>): boolean {
  return [ranks, alphas].some((pattern) => Object.keys(pattern ?? {}).length > 0);
}

/** The card of an adapter's folder; null if it has none. */
export function readCard(path: string): AdapterCard | null {
  const json = readJson(path, { optional: true }) as Partial<AdapterCard> | undefined | null;
  if (json === undefined || json === null) return null;
  const { base, date, files = 0, bytes = 0, heldOut = null, general = null, exactMatch = null } = json;
  if (typeof base !== "string" || typeof date !== "string")
    throw new UserError(`${path} does not say on which model the adapter was trained; fetch the adapter again.`);
  return { base, date, files, bytes, heldOut, general, exactMatch };
}

function readParts(root: string, rank: number, base: AdapterBase): Map<string, LowRankPart> {
  const path = join(root, adapterWeightsName);
  const stored = readSafetensorsHeader(path);
  const parts = new Map<string, LowRankPart>();
  for (const name of stored.keys()) {
    const match = /^base_model\.model\.(.+)\.lora_A\.weight$/.exec(name);
    if (match === null) {
      if (/\.lora_B\.weight$/.test(name)) continue;
      throw new UserError(`Tensor ${name} in ${path} is no part of a plain LoRA adapter; only those can be used.`);
    }
    const layer = ownName(match[1], base);
    const weight = base.checkpoint.tensors.get(`${layer}.weight`);
    if (weight === undefined)
      throw new UserError(
        `The adapter in ${root} changes ${match[1]}, which the model does not have; it is another model's.`,
      );
    const outputs = weight.shape[0];
    // 4-bit weights are stored as blocks of pairs.
    const inputs = weight.dtype === "U8" ? weight.shape[1] * weight.shape[2] * 2 : weight.shape[1];
    const read = (part: "A" | "B", shape: [number, number]) => {
      const full = `base_model.model.${match[1]}.lora_${part}.weight`;
      const found = stored.get(full);
      if (found === undefined || found.shape.length !== 2 || found.shape.some((size, axis) => size !== shape[axis]))
        throw new UserError(
          `Tensor ${full} in ${path} must have the shape [${shape}], but ${found === undefined ? "is missing" : `has [${found.shape}]`}; the adapter is damaged or another model's.`,
        );
      if (!["F32", "F16", "BF16"].includes(found.dtype))
        throw new UserError(`Tensor ${full} in ${path} has type ${found.dtype}; it must be F32, F16 or BF16.`);
      const values = readTensor({ ...found, dtype: found.dtype as Dtype, file: adapterWeightsName, directory: root });
      if (values.some((value) => !Number.isFinite(value)))
        throw new UserError(`Tensor ${full} in ${path} holds numbers that are not finite; the adapter is damaged.`);
      return values;
    };
    const back = inverse(rowOrder(layer, outputs, base));
    parts.set(layer, {
      a: read("A", [rank, inputs]),
      b: permuteRows(read("B", [outputs, rank]), rank, back),
      inputs,
      outputs,
    });
  }
  if (parts.size === 0) throw new UserError(`${path} holds no adapted layer; the adapter is damaged.`);
  return parts;
}

function foreignName(layer: string, { llama }: AdapterBase): string {
  return llama !== null && layer.startsWith(ourPrefix) ? llamaPrefix + layer.slice(ourPrefix.length) : layer;
}

function ownName(name: string, { llama }: AdapterBase): string {
  return llama !== null && name.startsWith(llamaPrefix) ? ourPrefix + name.slice(llamaPrefix.length) : name;
}

/** For each row of a file's B the row of ours; null where they are the same. */
function rowOrder(layer: string, outputs: number, { llama }: AdapterBase): Int32Array | null {
  if (llama === null || !/\.[qk]_proj$/.test(layer)) return null;
  const { headDim } = llama;
  return Int32Array.from({ length: outputs }, (_, row) => {
    const [head, within] = [Math.floor(row / headDim), row % headDim];
    const half = headDim / 2;
    return head * headDim + (within < half ? 2 * within : 2 * (within - half) + 1);
  });
}

function inverse(order: Int32Array | null): Int32Array | null {
  if (order === null) return null;
  const back = new Int32Array(order.length);
  order.forEach((from, to) => {
    back[from] = to;
  });
  return back;
}

function permuteRows(matrix: Float32Array, columns: number, order: Int32Array | null): Float32Array {
  if (order === null) return matrix;
  const result = new Float32Array(matrix.length);
  order.forEach((from, to) => {
    result.set(matrix.subarray(from * columns, (from + 1) * columns), to * columns);
  });
  return result;
}

function tensor(name: string, shape: number[], values: Float32Array) {
  return { name, dtype: "F32" as const, shape, chunks: () => [encodeValues(values, "F32", name)] };
}
