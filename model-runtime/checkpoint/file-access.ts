/** Looking at files and reading them at positions that may lie beyond 4 GiB; what the system refuses becomes a `UserError`. */
import { openSync, readSync, type Stats, statSync } from "node:fs";
import { UserError } from "../errors";

/** One system call reads at most 2 GiB; this is below it. */
const maxRead = 2 ** 30;

/** Opens a file for reading. */
export function openFile(path: string): number {
  return orUserError(path, () => openSync(path, "r"));
}

/** What is at `path`, links followed; null when nothing is. */
export function fileStatus(path: string): Stats | null {
  return orUserError(path, () => {
    try {
      return statSync(path);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOENT" || code === "ENOTDIR") return null;
      throw error;
    }
  });
}

/** Fills `into` from byte `position` of an open file and returns it as a `Buffer`; `path` is for the error of a file too short. */
export function readFully(descriptor: number, into: Uint8Array, position: number, path: string): Buffer {
  let done = 0;
  while (done < into.length) {
    const count = readSync(descriptor, into, done, Math.min(maxRead, into.length - done), position + done);
    if (count === 0) {
      throw new UserError(
        `${path} ends at byte ${position + done}, in the middle of its data; fetch or convert it again.`,
      );
    }
    done += count;
  }
  return Buffer.from(into.buffer, into.byteOffset, into.byteLength);
}

/** The result of `access`; an error of the system becomes a `UserError` about `path`. */
export function orUserError<T>(path: string, access: () => T): T {
  try {
    return access();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw new UserError(`${path} cannot be read (${code}); check that it is there and may be read.`);
  }
}
