/** Patching in words. */
import type { PatchingConfig } from "../checkpoint/config";

/** The rule in a few words, for people. */
export function describePatching(config: PatchingConfig): string {
  const { mode, threshold, thresholdAdd, monotonic, newlineReset, patchSize, maxPatchLength, minPatchLength } = config;
  const parts: string[] = [];
  if (mode === "entropy") {
    parts.push(`entropy ${monotonic ? "rises by more than" : "above"} ${shortNumber(threshold)} nats`);
    if (thresholdAdd !== null && !monotonic) parts.push(`rising by more than ${shortNumber(thresholdAdd)}`);
  } else parts.push(mode === "static" ? `static patches of ${patchSize}` : `mode ${mode}`);
  if (newlineReset) parts.push("newline reset");
  if (maxPatchLength !== null) parts.push(`at most ${maxPatchLength} bytes`);
  if (minPatchLength > 1) parts.push(`at least ${minPatchLength} bytes`);
  return parts.join(", ");
}

/** Enough digits for the same float32 number, and no more. */
export function shortNumber(value: number): string {
  return String(Number(value.toPrecision(7)));
}
