/** Memory and processor time of processes as Linux tells them in /proc; null or NaN on other systems. */
import { readFileSync } from "node:fs";

/** Resident memory in bytes. */
export interface ProcessMemory {
  all: number;
  /** Allocated by the process itself. */
  anonymous: number;
  /** Pages of files, the weights among them: the system takes them back when memory is short. */
  mapped: number;
}

export function memoryOf(pid: number): ProcessMemory | null {
  const status = read(`/proc/${pid}/status`);
  if (status === null) return null;
  const field = (name: string) =>
    1024 * Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? Number.NaN);
  return { all: field("VmRSS"), anonymous: field("RssAnon"), mapped: field("RssFile") };
}

/** Milliseconds of all cores together since the machine started, and those of them that were not idle. */
export function coreMs(): { all: number; busy: number } {
  const line = read("/proc/stat")?.split("\n", 1)[0];
  if (!line) return { all: Number.NaN, busy: Number.NaN };
  // user nice system idle iowait irq softirq steal; guest time is part of user time.
  const ticks = line.trim().split(/\s+/).slice(1, 9).map(Number);
  const all = ticks.reduce((sum, value) => sum + value, 0);
  return { all: all * msOfTick, busy: (all - ticks[3] - ticks[4]) * msOfTick };
}

/** Milliseconds of processor time a process has used, its ended children not counted. */
export function processMs(pid: number): number {
  const stat = read(`/proc/${pid}/stat`);
  if (stat === null) return Number.NaN;
  // The name in parentheses may hold spaces; user and system time are fields 14 and 15.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * msOfTick;
}

/** Linux counts in hundredths of a second towards programs, whatever its own clock. */
const msOfTick = 10;

function read(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null;
  }
}
