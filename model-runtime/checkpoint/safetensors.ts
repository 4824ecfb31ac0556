/**
 * The header of a safetensors file: 8 bytes little-endian length, JSON, then the tensors' data. Only the header is
 * read, so the file may be larger than memory; everything it claims is checked against the file's size first.
 */
import { closeSync, fstatSync } from "node:fs";
import { UserError } from "../errors";
import { openFile, readFully } from "./file-access";
import { describe } from "./json-fields";

/** One tensor as its file describes it. */
export interface TensorEntry {
  name: string;
  /** As written in the file: one of the format's types, of which the runtime computes with a few. */
  dtype: string;
  shape: number[];
  /** Byte offset from the start of the file, and length in bytes. */
  offset: number;
  length: number;
}

/** Bytes of one element of every whole-byte type of the format. */
export const dtypeBytes: Readonly<Record<string, number>> = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  F8_E8M0: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  I64: 8,
  U64: 8,
  F64: 8,
  C64: 8,
};

/** Longest header the format allows, in bytes. */
const maxHeaderLength = 100_000_000;

/** The tensors of the file at `path` by name, in the file's order; throws a `UserError` for a file that is damaged. */
export function readSafetensorsHeader(path: string): Map<string, TensorEntry> {
  return readHeader(path, (text, dataStart, fileLength) => {
    const entries = parseHeader(text, path, dataStart);
    checkExtents(entries, path, dataStart, fileLength);
    return new Map(entries.map((entry) => [entry.name, entry]));
  });
}

/** The strings under `__metadata__` in the header of the file at `path`. */
export function readSafetensorsMetadata(path: string): Readonly<Record<string, string>> {
  return readHeader(path, (text) => {
    const metadata: unknown = (JSON.parse(text) as Record<string, unknown>).__metadata__;
    return isObject(metadata) ? (metadata as Record<string, string>) : {};
  });
}

function readHeader<T>(path: string, use: (text: string, dataStart: number, fileLength: number) => T): T {
  const descriptor = openFile(path);
  try {
    const fileLength = fstatSync(descriptor).size;
    if (fileLength < 8) throw damaged(path, `it has only ${fileLength} bytes`);
    const headerLength = Number(readFully(descriptor, new Uint8Array(8), 0, path).readBigUInt64LE());
    if (headerLength > maxHeaderLength) {
      throw damaged(path, `its header would have ${headerLength} bytes, the format allows ${maxHeaderLength}`);
    }
    const dataStart = 8 + headerLength;
    if (dataStart > fileLength) {
      throw damaged(path, `its header would have ${headerLength} bytes, the file has ${fileLength}`);
    }
    const text = readFully(descriptor, new Uint8Array(headerLength), 8, path).toString("utf8");
    return use(text, dataStart, fileLength);
  } finally {
    closeSync(descriptor);
  }
}

function parseHeader(text: string, path: string, dataStart: number): TensorEntry[] {
  let header: unknown;
  try {
    header = JSON.parse(text);
  } catch (error) {
    throw damaged(path, `its header is not JSON (${(error as Error).message})`);
  }
  if (!isObject(header)) throw damaged(path, "its header is not a JSON object");
  refuseDuplicates(text, path);
  return Object.entries(header)
    .filter(([name]) => name !== "__metadata__")
    .map(([name, value]) => parseEntry(name, value, path, dataStart));
}

/** `JSON.parse` keeps the last of two equal keys in silence, so the keys of the outermost object are looked at in the text. */
function refuseDuplicates(text: string, path: string): void {
  const seen = new Set<string>();
  let depth = 0;
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}]/g)) {
    if (token === "{") depth++;
    else if (token === "}") depth--;
    else if (depth === 1) {
      const name = JSON.parse(token) as string;
      if (seen.has(name)) throw damaged(path, `tensor ${name} is described twice`);
      seen.add(name);
    }
  }
}

function parseEntry(name: string, value: unknown, path: string, dataStart: number): TensorEntry {
  if (!isObject(value)) throw damaged(path, `tensor ${name} is described by ${describe(value)}`);
  const { dtype, shape, data_offsets: offsets } = value;
  const bytes = typeof dtype === "string" && Object.hasOwn(dtypeBytes, dtype) ? dtypeBytes[dtype] : undefined;
  if (bytes === undefined) {
    throw new UserError(
      `Tensor ${name} in ${path} has the unknown type ${describe(dtype)}; convert the checkpoint to F32, F16 or BF16.`,
    );
  }
  if (!isSizes(shape)) throw damaged(path, `tensor ${name} has the shape ${describe(shape)}`);
  if (!isSizes(offsets) || offsets.length !== 2 || offsets[0] > offsets[1]) {
    throw damaged(path, `tensor ${name} has the offsets ${describe(offsets)}`);
  }
  const length = offsets[1] - offsets[0];
  const expected = shape.reduce((product, size) => product * size, bytes);
  if (length !== expected) {
    throw damaged(
      path,
      `tensor ${name} of type ${dtype} and shape [${shape}] needs ${expected} bytes, but has ${length}`,
    );
  }
  return { name, dtype: dtype as string, shape, offset: dataStart + offsets[0], length };
}

function checkExtents(entries: TensorEntry[], path: string, dataStart: number, fileLength: number): void {
  const ordered = [...entries].sort((a, b) => a.offset - b.offset || a.length - b.length);
  let previous = { name: "the header", offset: 0, length: dataStart };
  for (const entry of ordered) {
    if (entry.offset + entry.length > fileLength) {
      throw damaged(
        path,
        `tensor ${entry.name} ends at byte ${entry.offset + entry.length}, but the file has ${fileLength} bytes`,
      );
    }
    if (entry.offset < previous.offset + previous.length) {
      throw damaged(path, `tensor ${entry.name} overlaps ${previous.name}`);
    }
    previous = entry;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

function damaged(path: string, what: string): UserError {
  return new UserError(`${path} is damaged, incomplete or no safetensors file: ${what}; fetch or convert it again.`);
}
