/** Makes a model faster at reading long texts when there is time and memory for it (docs/performance-engine.md). */
import { freemem, totalmem } from "node:os";
import { Blt } from "../model-runtime/model/blt";
import { LexiconModel } from "../model-runtime/model/lexicon-model";
import type { TextModel } from "../model-runtime/model/text-state";

/** What a machine has to have beside the second form, which for a moment is there twice: 7 and 2 GiB with the default model's 110 MB. */
const MACHINE_BYTES = 6.75 * 2 ** 30;
const FREE_BYTES = 1.75 * 2 ** 30;

/** What a machine has, as the system says. */
interface Memory {
  total: number;
  free: number;
  platform: NodeJS.Platform;
}

/**
 * Whether a second form of the layers may be kept: not on machines that are small for it, nor where others need the memory now.
 * @param bytes what it takes
 */
export function hasMemoryToSpare(
  bytes: number,
  { total, free, platform }: Memory = { total: totalmem(), free: freemem(), platform: process.platform },
): boolean {
  // macOS counts as free only what it has no use for at all.
  return total - 2 * bytes >= MACHINE_BYTES && (platform === "darwin" || free - 2 * bytes >= FREE_BYTES);
}

/** Prepares a model for long runs once nobody waits for it; never a reason to fail. */
export async function prepareLongRuns(model: TextModel, whenIdle: () => Promise<void>): Promise<void> {
  if (!(model instanceof LexiconModel || model instanceof Blt) || !model.longRuns.canPrepare) return;
  if (!hasMemoryToSpare(model.longRuns.byteLength)) return;
  await whenIdle();
  try {
    await model.longRuns.prepare();
  } catch (error) {
    if ((error as Error).name === "AbortError") return;
    // It reads on as it did.
    console.error(`The model was not prepared for long texts: ${(error as Error).message}`);
  }
}
