/** Whether a machine has memory to spare for what makes a model faster (docs/performance-engine.md). */
import { freemem, totalmem } from "node:os";

/** What a machine has to have besides: 7 and 2 GiB with the default model's 106 MB of int8 rows, which for a moment are there twice. */
const MACHINE_BYTES = 6.75 * 2 ** 30;
const FREE_BYTES = 1.75 * 2 ** 30;

/** What a machine has, as the system says. */
interface Memory {
  total: number;
  free: number;
  platform: NodeJS.Platform;
}

/**
 * Whether so much more may be taken: not on machines that are small for it, nor where others need the memory now.
 * @param bytes what it takes
 */
export function hasMemoryToSpare(
  bytes: number,
  { total, free, platform }: Memory = { total: totalmem(), free: freemem(), platform: process.platform },
): boolean {
  // macOS counts as free only what it has no use for at all.
  return total - 2 * bytes >= MACHINE_BYTES && (platform === "darwin" || free - 2 * bytes >= FREE_BYTES);
}
