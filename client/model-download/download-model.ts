/**
 * A model from Hugging Face into a folder. Started by the user only. What is complete stays when it ends early, and the
 * next start goes on there; a folder is a model when its `config.json` is there, which comes last.
 */
import { mkdir, readFile, rm, statfs, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isRunning } from "../../model-runtime/running-process";
import type { DownloadableModel } from "./catalogue";
import { bytesAlready, downloadFile } from "./download-file";
import { DownloadError, diskError } from "./errors";
import { type RemoteFile, type Repository, readRepository } from "./hub";
import type { Connection } from "./request";

export interface DownloadProgress {
  /** Bytes on the disk, and of the whole model; 0 while its size is being asked for. */
  bytes: number;
  total: number;
  /** What is being done, for the user. */
  doing: string;
}

export interface DownloadOptions {
  connection: Connection;
  onProgress(progress: DownloadProgress): void;
  /** Bytes that a folder's disk has left; asked of the file system by default. */
  freeBytes?(folder: string): Promise<number>;
}

interface Item {
  repository: Repository;
  file: RemoteFile;
  target: string;
}

/** Bytes of the disk that a download leaves free. */
const RESERVE_BYTES = 200e6;

/** Downloads `model` into `folder`, which is made; an abort of the connection's signal ends it, with the signal's reason. */
export async function downloadModel(
  model: DownloadableModel,
  folder: string,
  { connection, onProgress, freeBytes = freeBytesOf }: DownloadOptions,
): Promise<void> {
  let unlock: (() => Promise<void>) | null = null;
  try {
    await mkdir(folder, { recursive: true });
    unlock = await lock(folder, model.id);
    const asking = {
      ...connection,
      onPause: (reason: string) => onProgress({ bytes: 0, total: 0, doing: `${reason}, trying again` }),
    };
    const items = await itemsOf(model, folder, asking);
    const total = items.reduce((sum, { file }) => sum + file.size, 0);
    const have = await Promise.all(items.map(({ file, target }) => bytesAlready(file, target)));
    const missing = total - sum(have);
    const free = await freeBytes(folder);
    if (missing > 0 && free < missing + RESERVE_BYTES)
      throw new DownloadError(
        "other",
        `${model.id} needs ${gigabytes(missing + RESERVE_BYTES)} more on the disk with ${folder}, which has ${gigabytes(free)} left; make room and start again.`,
      );
    for (const [index, { repository, file, target }] of items.entries()) {
      const report = (doing: string) => onProgress({ bytes: sum(have), total, doing });
      report(file.path);
      const paused = { ...connection, onPause: (reason: string) => report(`${file.path}: ${reason}, trying again`) };
      await downloadFile(repository, file, target, paused, (bytes) => {
        have[index] = bytes;
        report(bytes === file.size ? `${file.path}: checking` : file.path);
      });
    }
  } catch (error) {
    connection.signal?.throwIfAborted();
    throw diskError(error, folder);
  } finally {
    await unlock?.();
  }
}

/** Keeps other windows from downloading into the same folder; a lock whose process has ended is taken over. */
async function lock(folder: string, id: string): Promise<() => Promise<void>> {
  const path = join(folder, "download.lock");
  try {
    await writeFile(path, String(process.pid), { flag: "wx" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    if (isRunning(Number(await readFile(path, "utf8"))))
      throw new DownloadError("other", `${id} is being downloaded already, perhaps in another window; wait for that.`);
    await writeFile(path, String(process.pid));
  }
  return () => rm(path, { force: true });
}

/** The files of all parts; the configuration last. */
async function itemsOf(model: DownloadableModel, folder: string, connection: Connection): Promise<Item[]> {
  const items: Item[] = [];
  for (const { repository: name, into, needs } of model.parts) {
    const repository = await readRepository(name, connection);
    const files = repository.files.filter(({ path }) => needs(path));
    for (const [what, isIt] of [
      ["config.json", (path: string) => path === "config.json"],
      ["safetensors file", (path: string) => path.endsWith(".safetensors")],
    ] as const)
      if (!files.some(({ path }) => isIt(path)))
        throw new DownloadError("other", `${name} has no ${what}, so it cannot be used; it may have been changed.`);
    items.push(...files.map((file) => ({ repository, file, target: join(folder, into, file.path) })));
  }
  const config = join(folder, "config.json");
  return [...items.filter(({ target }) => target !== config), ...items.filter(({ target }) => target === config)];
}

async function freeBytesOf(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}
