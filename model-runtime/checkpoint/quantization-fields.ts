/** `quantization_config` of `config.json`: how weights are stored (docs/checkpoint-format.md). */
import type { BlockForm, Quantization } from "./config";
import { type Fields, flag, section, word } from "./json-fields";
import { BLOCK_SIZE } from "./tensor-data";

/** The form that `quantization_config` names; null without one. Throws `UserError`. */
export function parseQuantization(fields: Fields): Quantization | null {
  const given = section(fields, "quantization_config");
  if (given === null) return null;
  const method = word(given, "quant_method", ["blt-int8", "blt-blocks"] as const);
  return method === "blt-int8" ? method : parseBlockForm(given);
}

/** Whether 4-bit blocks have minima, which they have unless `quantization_config` says otherwise. */
export function parseBlockForm(given: Fields | null): BlockForm {
  return given === null || flag(given, "minima", { fallback: true }) ? "blt-blocks" : "blt-blocks-symmetric";
}

/** The inverse of `parseQuantization`. */
export function formatQuantization(quantization: Quantization): { quant_method: string; [name: string]: unknown } {
  if (quantization === "blt-int8") return { quant_method: quantization };
  return { quant_method: "blt-blocks", block_size: BLOCK_SIZE, minima: quantization === "blt-blocks" };
}
