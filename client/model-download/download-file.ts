/** One file from the network to the disk: resumed where an earlier try ended, and kept only if its hash is right. */
import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { DownloadError, errorOf, TransientError } from "./errors";
import { addressOf, type RemoteFile, type Repository } from "./hub";
import { type Attempt, type Connection, request } from "./request";

/** Told the number of bytes of the file that are on the disk; it falls when they were wrong. */
export type OnBytes = (bytes: number) => void;

/** Suffix of a file that is not complete. */
export const PART = ".part";

/** Downloads a file to `target`; one that is there and right is left as it is. */
export async function downloadFile(
  repository: Repository,
  file: RemoteFile,
  target: string,
  connection: Connection,
  onBytes: OnBytes,
): Promise<void> {
  if ((await sizeOf(target)) === file.size && (await hasHash(target, file, connection.signal))) {
    onBytes(file.size);
    return;
  }
  await mkdir(dirname(target), { recursive: true });
  const part = target + PART;
  for (let tries = 0; tries < 2; tries++) {
    await fetchPart(repository, file, part, connection, onBytes);
    if (await hasHash(part, file, connection.signal)) {
      await rename(part, target);
      return;
    }
    // A part of another file, or damaged on its way: once more from the start.
    await rm(part);
    onBytes(0);
  }
  throw new DownloadError(
    "other",
    `${repository.name}/${file.path} came with the wrong content twice (its hash differs); the connection or a proxy changes it.`,
  );
}

/** Bytes that are on the disk already, of the file or of its part. */
export async function bytesAlready(file: RemoteFile, target: string): Promise<number> {
  const whole = await sizeOf(target);
  return whole === file.size ? whole : Math.min(file.size, await sizeOf(target + PART));
}

/** Brings the part to the file's size. */
async function fetchPart(
  repository: Repository,
  file: RemoteFile,
  part: string,
  connection: Connection,
  onBytes: OnBytes,
): Promise<void> {
  if ((await sizeOf(part)) > file.size) await rm(part);
  if (file.size === 0) await (await open(part, "w")).close();
  const furthest = { bytes: 0 };
  while ((await sizeOf(part)) < file.size) {
    const headers = async () => {
      const have = await sizeOf(part);
      // What is compressed on its way could not be resumed.
      return { "accept-encoding": "identity", ...(have > 0 ? { range: `bytes=${have}-` } : {}) };
    };
    const context = { repository, file, part, hasToken: connection.token !== undefined, furthest, onBytes };
    await request(addressOf(repository, file.path), headers, connection, (response, attempt) =>
      writePart(response, attempt, context),
    );
  }
}

interface PartContext {
  repository: Repository;
  file: RemoteFile;
  part: string;
  hasToken: boolean;
  /** Bytes that were on the disk at most, over all tries. */
  furthest: { bytes: number };
  onBytes: OnBytes;
}

/** Writes an answer's bytes behind those of the part, or in place of them when the answer has all of the file. */
async function writePart(
  response: Response,
  attempt: Attempt,
  { repository, file, part, hasToken, furthest, onBytes }: PartContext,
): Promise<void> {
  const what = `${repository.name}/${file.path}`;
  if (response.status === 416) {
    // The other side has less than the part: begin anew, once it has sent something else.
    await rm(part, { force: true });
    throw new TransientError(`${what}: the server has no such range`);
  }
  if (!response.ok || response.body === null) throw errorOf(response, repository.name, what, hasToken);
  const isRest = response.status === 206;
  const have = isRest ? await sizeOf(part) : 0;
  const start = isRest ? Number(/^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "")?.[1]) : 0;
  if (start !== have) {
    await rm(part, { force: true });
    throw new TransientError(`${what}: the server sent another range than was asked for`);
  }
  const out = await open(part, isRest ? "a" : "w");
  let written = have;
  try {
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      attempt.isAlive();
      if (written + chunk.length > file.size)
        throw new DownloadError("other", `${what} is longer than announced; a proxy may have answered instead.`);
      await out.writeFile(chunk);
      written += chunk.length;
      onBytes(written);
      if (written > furthest.bytes) {
        furthest.bytes = written;
        attempt.hasProgress();
      }
    }
  } finally {
    await out.close();
  }
  if (written < file.size) throw new TransientError(`${what} ended early`);
}

async function hasHash(path: string, { size, hash }: RemoteFile, signal?: AbortSignal): Promise<boolean> {
  const digest: Hash = createHash(hash.algorithm === "sha256" ? "sha256" : "sha1");
  if (hash.algorithm === "git-sha1") digest.update(`blob ${size}\0`);
  for await (const chunk of createReadStream(path, { signal, highWaterMark: 1 << 20 })) digest.update(chunk);
  return digest.digest("hex") === hash.value;
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return 0;
    throw error;
  }
}
