/**
 * Rows of a hash table [V, C], picked a few a byte: from memory when the table is small, else from the file as they
 * are needed, the last used ones kept. The table of blt-1b has 12 GB in F32 and is never read whole (design section 5).
 */
import { closeSync } from "node:fs";
import { join } from "node:path";
import type { Dtype, HashTableLocation } from "./checkpoint";
import { openFile, readFully } from "./file-access";
import { bfloatValue, halfValues } from "./half";

import { columnCount, elementBytes, readBytes, readTensor, rowCount } from "./tensor-data";

export interface RowReaderOptions {
  /** A table of at most this many bytes is held in memory. Default 64 MiB. */
  wholeTableBytes?: number;
  /** Bytes of rows kept of a table that is not held. Default 16 MiB. */
  cacheBytes?: number;
}

/** Reads rows of one table; holds memory or an open file until `close`. */
export class RowReader {
  /** V. */
  readonly rows: number;
  /** C. */
  readonly columns: number;
  readonly #dtype: Dtype;
  readonly #scales: Float32Array | null;
  readonly #store: RowStore;

  constructor(table: HashTableLocation, options: RowReaderOptions = {}) {
    const { wholeTableBytes = 64 * 2 ** 20, cacheBytes = 16 * 2 ** 20 } = options;
    this.rows = rowCount(table);
    this.columns = columnCount(table);
    this.#dtype = table.dtype;
    this.#scales = table.scales === null ? null : readTensor(table.scales);
    this.#store = table.length <= wholeTableBytes ? wholeTable(table) : rowCache(table, cacheBytes);
  }

  /** Copies row `index` to the C values of `into` from `at`. */
  readRow(index: number, into: Float32Array, at = 0): void {
    into.fill(0, at, at + this.columns);
    this.addRow(index, into, at);
  }

  /** Adds row `index` to the C values of `into` from `at`. */
  addRow(index: number, into: Float32Array, at = 0): void {
    if (!(index >= 0 && index < this.rows)) throw new RangeError(`Row ${index} of a table of ${this.rows} rows.`);
    const start = this.#store.locate(index);
    const { elements } = this.#store;
    const { columns } = this;
    if (this.#dtype === "F32") {
      for (let i = 0; i < columns; i++) into[at + i] += elements[start + i];
    } else if (this.#dtype === "I8") {
      const scale = this.#scales![index];
      for (let i = 0; i < columns; i++) into[at + i] += elements[start + i] * scale;
    } else if (this.#dtype === "BF16") {
      for (let i = 0; i < columns; i++) into[at + i] += bfloatValue(elements[start + i]);
    } else {
      const values = halfValues();
      for (let i = 0; i < columns; i++) into[at + i] += values[elements[start + i]];
    }
  }

  close(): void {
    this.#store.close();
  }
}

type Elements = Float32Array | Uint16Array | Int8Array;

/** Rows in their file form. */
interface RowStore {
  elements: Elements;
  /** Index in `elements` at which a row begins; valid until the next call. */
  locate(index: number): number;
  close(): void;
}

function wholeTable(table: HashTableLocation): RowStore {
  const columns = columnCount(table);
  return {
    elements: elementsOf(table.dtype, readBytes(table)),
    locate: (index) => index * columns,
    close: () => undefined,
  };
}

/** Keeps the rows used last: a `Map` iterates in the order of insertion, so its first key is the row used longest ago. */
function rowCache(table: HashTableLocation, cacheBytes: number): RowStore {
  const columns = columnCount(table);
  const rowBytes = columns * elementBytes[table.dtype];
  const capacity = Math.max(1, Math.floor(cacheBytes / rowBytes));
  const bytes = new Uint8Array(capacity * rowBytes);
  const path = join(table.directory, table.file);
  const descriptor = openFile(path);
  const slots = new Map<number, number>();

  function takeSlot(): number {
    if (slots.size < capacity) return slots.size;
    const [[oldest, slot]] = slots;
    slots.delete(oldest);
    return slot;
  }

  return {
    elements: elementsOf(table.dtype, bytes),
    locate(index) {
      let slot = slots.get(index);
      if (slot === undefined) {
        slot = takeSlot();
        const row = bytes.subarray(slot * rowBytes, (slot + 1) * rowBytes);
        readFully(descriptor, row, table.offset + index * rowBytes, path);
      } else {
        slots.delete(index);
      }
      slots.set(index, slot);
      return slot * columns;
    },
    close: () => closeSync(descriptor),
  };
}

function elementsOf(dtype: Dtype, { buffer, byteOffset, byteLength }: Uint8Array): Elements {
  if (dtype === "F32") return new Float32Array(buffer, byteOffset, byteLength / 4);
  if (dtype === "I8") return new Int8Array(buffer, byteOffset, byteLength);
  return new Uint16Array(buffer, byteOffset, byteLength / 2);
}
