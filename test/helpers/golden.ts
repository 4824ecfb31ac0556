/** The golden checkpoints: inputs and outputs of the reference implementations (test/golden/*). */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Checkpoint } from "../../model-runtime/checkpoint/checkpoint";
import { openCheckpoint } from "../../model-runtime/checkpoint/open-checkpoint";
import { Blt } from "../../model-runtime/model/blt";
import { testDevice } from "./device";

export interface GoldenCase {
  name: string;
  semantics: "meta" | "hf";
  tokens: number[];
  entropies: number[];
  patch_lengths_with_next: number[];
  logits: number[][];
  patcher_window?: number;
  local_window?: number;
  override?: { max_patch_length: number };
}

export const goldenNames = ["k2", "k4"] as const;

export function goldenDirectory(name: string): string {
  return join(__dirname, "../golden", name);
}

export function goldenCases(name: string): GoldenCase[] {
  return JSON.parse(readFileSync(join(goldenDirectory(name), "golden.json"), "utf8")).cases;
}

/** A golden checkpoint with windows and settings of a case. */
export function goldenCheckpoint(name: string, golden: Partial<GoldenCase>): Checkpoint {
  const checkpoint = openCheckpoint(goldenDirectory(name), { semantics: golden.semantics ?? "meta" });
  const { config } = checkpoint;
  if (golden.patcher_window) config.patcher!.window = golden.patcher_window;
  if (golden.local_window) config.encoder.window = config.decoder.window = golden.local_window;
  if (golden.override) config.patching.maxPatchLength = golden.override.max_patch_length;
  return checkpoint;
}

export function loadGolden(name: string, golden: Partial<GoldenCase> = {}): Promise<Blt> {
  return Blt.load(goldenCheckpoint(name, golden), { device: testDevice, threads: 1 });
}
