/**
 * The folder of a run: its settings and state, from which it goes on after a crash. Every file appears whole or not at
 * all, so that a run may be killed at any moment.
 *
 * - `run.json`: settings, written once at the start;
 * - `state.safetensors`: everything a run goes on from, written at each held-out score and on a signal;
 * - `lock`: the process that is at work here, which touches it now and then: the number of a process that was killed may
 *   be another's by now.
 */
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, utimesSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { TensorLocation } from "../checkpoint/checkpoint";
import { fileStatus } from "../checkpoint/file-access";
import { readSafetensorsHeader, readSafetensorsMetadata } from "../checkpoint/safetensors";
import { byteView, readTensor } from "../checkpoint/tensor-data";
import { diskError, writeSafetensors, writeTextFile } from "../checkpoint/write-safetensors";
import { UserError } from "../errors";
import { isRunning } from "../running-process";
import type { TrainState } from "./train";

const stateName = "state.safetensors";
const settingsName = "run.json";
const lockName = "lock";
/** How often a lock is touched, and after how long without that it counts as left behind, ms. */
const TOUCH_MS = 20_000;
const STALE_MS = 15 * 60_000;
const vectors = ["parameters", "first", "second", "best"] as const;

/** Writes the state of a run. */
export async function saveState(folder: string, state: TrainState): Promise<void> {
  const { optimizer, best, ...rest } = state;
  const data = {
    parameters: optimizer.parameters,
    first: optimizer.first,
    second: optimizer.second,
    best: best.parameters,
  };
  const tensors = vectors.map((name) => ({
    name,
    dtype: "F32" as const,
    shape: [data[name].length],
    chunks: () => [byteView(data[name])],
  }));
  const numbers = { ...rest, step: optimizer.step, best: { bpb: best.bpb, step: best.step } };
  await writeSafetensors(join(folder, stateName), tensors, { metadata: { state: JSON.stringify(numbers) } });
}

/** The state a run left; null when there is none. */
export function loadState(folder: string): TrainState | null {
  const path = join(folder, stateName);
  if (fileStatus(path) === null) return null;
  const entries = readSafetensorsHeader(path);
  const numbers = JSON.parse(readSafetensorsMetadata(path).state ?? "null");
  if (numbers === null || vectors.some((name) => !entries.has(name))) return null;
  const read = (name: (typeof vectors)[number]) =>
    readTensor({ ...entries.get(name)!, dtype: "F32", file: stateName, directory: folder } as TensorLocation);
  const { step, best, ...rest } = numbers;
  return {
    ...rest,
    optimizer: { parameters: read("parameters"), first: read("first"), second: read("second"), step },
    best: { ...best, parameters: read("best") },
  };
}

/** The run that was not done here and can go on: its settings, and the step of its last state; null when there is none. */
export function unfinishedRun(folder: string): { settings: Record<string, unknown>; step: number } | null {
  const path = join(folder, stateName);
  const settings = loadSettings(folder);
  if (settings === null || fileStatus(path) === null) return null;
  const numbers = JSON.parse(readSafetensorsMetadata(path).state ?? "null");
  return typeof numbers?.step === "number" ? { settings, step: numbers.step } : null;
}

/** Writes the settings with which a run began. */
export async function saveSettings(folder: string, settings: object): Promise<void> {
  await writeTextFile(join(folder, settingsName), `${JSON.stringify(settings, null, 2)}\n`);
}

/** The settings of a run that was begun here; null when there is none. */
export function loadSettings(folder: string): Record<string, unknown> | null {
  const path = join(folder, settingsName);
  return fileStatus(path) === null ? null : JSON.parse(readFileSync(path, "utf8"));
}

/** Removes what a run needs only while it goes on. */
export function clearRun(folder: string): void {
  for (const name of [stateName, settingsName]) rmSync(join(folder, name), { force: true });
  removePartial(folder);
}

/**
 * Makes the folder and takes it for this process; a `UserError` when another process is at work in it. What was left by a
 * process that was killed is removed. Returns the function that gives the folder back.
 */
export function takeFolder(folder: string): () => void {
  const path = join(folder, lockName);
  try {
    mkdirSync(folder, { recursive: true });
    for (let attempt = 0; ; attempt++) {
      try {
        const descriptor = openSync(path, "wx");
        writeSync(descriptor, String(process.pid));
        closeSync(descriptor);
        break;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST" || attempt > 3) throw error;
        const owner = ownerOf(path);
        if (owner !== null && isRunning(owner) && isFresh(path))
          throw new UserError(
            `Process ${owner} is fine-tuning in ${folder} already; wait until it is done, or cancel it first.`,
          );
        rmSync(path, { force: true });
      }
    }
  } catch (error) {
    throw diskError(error, folder);
  }
  removePartial(folder);
  const touching = setInterval(() => touch(path), TOUCH_MS);
  touching.unref();
  return () => {
    clearInterval(touching);
    rmSync(path, { force: true });
  };
}

/** Whether the lock was touched lately; a machine that slept counts as late. */
function isFresh(path: string): boolean {
  const status = fileStatus(path);
  return status !== null && Date.now() - status.mtimeMs < STALE_MS;
}

function touch(path: string): void {
  try {
    utimesSync(path, new Date(), new Date());
  } catch (error) {
    // Removed with its folder.
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}

function ownerOf(path: string): number | null {
  try {
    const pid = Number(readFileSync(path, "utf8"));
    return Number.isSafeInteger(pid) && pid > 0 ? pid : null;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}

/** Files that were being written when a process was killed. */
function removePartial(folder: string): void {
  for (const name of readdirSync(folder))
    if (name.endsWith(".partial")) rmSync(join(folder, name), { recursive: true, force: true });
}
