/** Makes a model faster at reading long texts when there is time and memory for it (docs/performance-engine.md). */
import { freemem, totalmem } from "node:os";
import { Blt } from "../model-runtime/model/blt";
import { LexiconModel } from "../model-runtime/model/lexicon-model";
import type { TextModel } from "../model-runtime/model/text-state";

/** A second form of the layers takes some 110 MB, and for a moment as much again. */
const MACHINE_BYTES = 7 * 2 ** 30;
const FREE_BYTES = 2 * 2 ** 30;

/** What a machine has, as the system says. */
interface Memory {
  total: number;
  free: number;
  platform: NodeJS.Platform;
}

/** Whether the second form may be kept: not on small machines, nor where others need the memory now. */
export function hasMemoryToSpare(
  { total, free, platform }: Memory = { total: totalmem(), free: freemem(), platform: process.platform },
): boolean {
  // macOS counts as free only what it has no use for at all.
  return total >= MACHINE_BYTES && (platform === "darwin" || free >= FREE_BYTES);
}

/** Prepares a model for long runs once nobody waits for it; never a reason to fail. */
export async function prepareLongRuns(model: TextModel, whenIdle: () => Promise<void>): Promise<void> {
  if (!(model instanceof LexiconModel || model instanceof Blt) || !model.canPrepareLongRuns || !hasMemoryToSpare())
    return;
  await whenIdle();
  try {
    await model.prepareLongRuns();
  } catch (error) {
    if ((error as Error).name === "AbortError") return;
    // It reads on as it did.
    console.error(`The model was not prepared for long texts: ${(error as Error).message}`);
  }
}
