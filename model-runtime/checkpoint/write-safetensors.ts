/**
 * Writing a safetensors file as a stream: to a temporary file beside the target that takes its name when it is whole,
 * so that a failure (full disk, interruption) leaves nothing behind and an older file as it was.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { UserError } from "../errors";
import type { Dtype } from "./checkpoint";
import { elementBytes } from "./tensor-data";

/** A tensor to be written; `chunks` yields its bytes in order, each valid until the next is asked for. */
export interface TensorSource {
  name: string;
  dtype: Dtype;
  shape: readonly number[];
  chunks(): Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
}

export interface WriteOptions {
  /** Strings kept in the header under `__metadata__`. */
  metadata?: Readonly<Record<string, string>>;
  /** Aborting ends the writing at the next chunk and removes the temporary file. */
  signal?: AbortSignal;
  /** Called with the bytes written so far and in all. */
  onProgress?: (done: number, total: number) => void;
  /** Writes one chunk to the end of the file and returns the bytes written; a test puts a full disk here. */
  write?: (file: FileHandle, chunk: Uint8Array) => Promise<number>;
}

/** Data begin at a multiple of this many bytes, and each tensor wherever the format's rule of no gaps allows. */
const alignment = 64;

/** Writes `tensors` to `path`; throws a `UserError` when the place or the disk does not allow it. */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<TensorSource>,
  options: WriteOptions = {},
): Promise<void> {
  const ordered = alignedOrder([...tensors]);
  const total = ordered.reduce((sum, tensor) => sum + byteLength(tensor), 0);
  await replaceFile(path, async (file) => {
    const write = options.write ?? ((handle, chunk) => handle.write(chunk).then(({ bytesWritten }) => bytesWritten));
    const append = async (chunk: Uint8Array) => {
      await setImmediate();
      options.signal?.throwIfAborted();
      for (let done = 0; done < chunk.length; ) done += await write(file, chunk.subarray(done));
    };
    await append(header(ordered, options.metadata));
    let done = 0;
    for (const tensor of ordered) {
      const end = done + byteLength(tensor);
      for await (const chunk of tensor.chunks()) {
        await append(chunk);
        done += chunk.length;
        options.onProgress?.(done, total);
      }
      if (done !== end) throw new Error(`Tensor ${tensor.name} gave ${done - end} bytes more than its shape needs.`);
    }
    await file.sync();
  });
}

/** Writes a text file whole or not at all; throws a `UserError` when the place or the disk does not allow it. */
export async function writeTextFile(path: string, text: string): Promise<void> {
  await replaceFile(path, async (file) => {
    await file.writeFile(text);
    await file.sync();
  });
}

async function replaceFile(path: string, fill: (file: FileHandle) => Promise<void>): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString("hex")}.partial`);
  try {
    const file = await open(temporary, "wx");
    try {
      await fill(file).finally(() => file.close());
      await rename(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  } catch (error) {
    throw diskError(error, path);
  }
}

/** Makes a folder and those it lies in, where they are missing; a `UserError` when that is not allowed. */
export function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true });
  } catch (error) {
    throw diskError(error, path);
  }
}

/** What the system says about a failed write as a `UserError`; any other error as it is. */
export function diskError(error: unknown, path: string): unknown {
  switch ((error as NodeJS.ErrnoException).code) {
    case "ENOSPC":
    case "EDQUOT":
      return new UserError(
        `The disk is full while writing ${path}; nothing was kept, free some space and start again.`,
      );
    case "EFBIG":
      return new UserError(
        `${path} would be larger than files may be there (a limit of the file system or of ulimit -f); nothing was kept, choose another folder.`,
      );
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return new UserError(
        `${path} cannot be written (no permission); allow yourself to write there, or choose another folder.`,
      );
    case "ENOENT":
    case "ENOTDIR":
      return new UserError(`${path} cannot be written, as its folder is not there; choose another folder.`);
    default:
      return error;
  }
}

function header(tensors: TensorSource[], metadata: WriteOptions["metadata"]): Uint8Array {
  const description: Record<string, unknown> = metadata === undefined ? {} : { __metadata__: metadata };
  let offset = 0;
  for (const tensor of tensors) {
    const end = offset + byteLength(tensor);
    description[tensor.name] = { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [offset, end] };
    offset = end;
  }
  const json = Buffer.from(JSON.stringify(description));
  const length = Math.ceil((8 + json.length) / alignment) * alignment;
  const bytes = Buffer.alloc(length, " ");
  bytes.writeBigUInt64LE(BigInt(length - 8));
  json.copy(bytes, 8);
  return bytes;
}

/**
 * Tensors that fill whole lines first, so that all of them lie aligned; then the rest from the widest element to the
 * narrowest, so that each lies at a multiple of its element.
 */
function alignedOrder(tensors: TensorSource[]): TensorSource[] {
  const key = (tensor: TensorSource) =>
    byteLength(tensor) % alignment === 0 ? Number.NEGATIVE_INFINITY : -elementBytes[tensor.dtype];
  return tensors
    .map((tensor) => ({ tensor, key: key(tensor) }))
    .sort((a, b) => (a.key === b.key ? 0 : a.key - b.key))
    .map(({ tensor }) => tensor);
}

function byteLength(tensor: TensorSource): number {
  return tensor.shape.reduce((product, size) => product * size, elementBytes[tensor.dtype]);
}
