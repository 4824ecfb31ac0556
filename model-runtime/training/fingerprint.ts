/** Tells models apart: a hash that changes when a tensor's shape, type or values change. */
import { createHash } from "node:crypto";
import { closeSync } from "node:fs";
import { join } from "node:path";
import type { Weights } from "../checkpoint/checkpoint";
import { openFile, readFully } from "../checkpoint/file-access";

/** Bytes that are read at the beginning and at the end of each tensor: checkpoints may be larger than memory. */
const READ_BYTES = 4096;

/** SHA-256 over names, types, shapes and the ends of all tensors, in the order of their names. */
export function fingerprint({ tensors }: Weights): string {
  const hash = createHash("sha256");
  const open = new Map<string, number>();
  try {
    for (const [name, { dtype, shape, directory, file, offset, length }] of [...tensors].sort(([a], [b]) =>
      a < b ? -1 : 1,
    )) {
      hash.update(JSON.stringify([name, dtype, shape]));
      const path = join(directory, file);
      let descriptor = open.get(path);
      if (descriptor === undefined) {
        descriptor = openFile(path);
        open.set(path, descriptor);
      }
      const count = Math.min(READ_BYTES, length);
      hash.update(readFully(descriptor, new Uint8Array(count), offset, path));
      if (length > count) hash.update(readFully(descriptor, new Uint8Array(count), offset + length - count, path));
    }
  } finally {
    for (const descriptor of open.values()) closeSync(descriptor);
  }
  return hash.digest("hex");
}
