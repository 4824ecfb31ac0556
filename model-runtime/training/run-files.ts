/**
 * The folder of a run: its settings and state, from which it goes on after a crash. Every file appears whole or not at
 * all, so that a run may be killed at any moment.
 *
 * - `run.json`: settings, written once at the start;
 * - `state.safetensors`: everything a run goes on from, written at each held-out score and on a signal;
 * - `lock`: the process that is at work here.
 */
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { TensorLocation } from "../checkpoint/checkpoint";
import { fileStatus } from "../checkpoint/file-access";
import { readSafetensorsHeader, readSafetensorsMetadata } from "../checkpoint/safetensors";
import { byteView, readTensor } from "../checkpoint/tensor-data";
import { diskError, writeSafetensors, writeTextFile } from "../checkpoint/write-safetensors";
import { UserError } from "../errors";
import type { TrainState } from "./train";

const stateName = "state.safetensors";
const settingsName = "run.json";
const lockName = "lock";
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

/** The state a run left; null when there is none, or one of other parameters. */
export function loadState(folder: string, size: number): TrainState | null {
  const path = join(folder, stateName);
  if (fileStatus(path) === null) return null;
  const entries = readSafetensorsHeader(path);
  const numbers = JSON.parse(readSafetensorsMetadata(path).state ?? "null");
  if (numbers === null || vectors.some((name) => entries.get(name)?.shape[0] !== size)) return null;
  const read = (name: (typeof vectors)[number]) =>
    readTensor({ ...entries.get(name)!, dtype: "F32", file: stateName, directory: folder } as TensorLocation);
  const { step, best, ...rest } = numbers;
  return {
    ...rest,
    optimizer: { parameters: read("parameters"), first: read("first"), second: read("second"), step },
    best: { ...best, parameters: read("best") },
  };
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
        if (owner !== null && isAlive(owner))
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
  return () => rmSync(path, { force: true });
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

function isAlive(pid: number): boolean {
  if (pid === process.pid) return true;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Files that were being written when a process was killed. */
function removePartial(folder: string): void {
  for (const name of readdirSync(folder))
    if (name.endsWith(".partial")) rmSync(join(folder, name), { recursive: true, force: true });
}
