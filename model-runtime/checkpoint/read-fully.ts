/** Reading from a file at a position that may lie beyond 4 GiB, whole or not at all. */
import { readSync } from "node:fs";
import { UserError } from "../errors";

/** One system call reads at most 2 GiB; this is below it. */
const maxRead = 2 ** 30;

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
