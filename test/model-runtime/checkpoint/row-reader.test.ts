import assert from "node:assert/strict";
import { closeSync, ftruncateSync, openSync, statSync, writeFileSync, writeSync } from "node:fs";
import fc from "fast-check";
import type { Dtype, HashTableLocation } from "../../../model-runtime/checkpoint/checkpoint";
import { openCheckpoint } from "../../../model-runtime/checkpoint/open-checkpoint";
import { RowReader, type RowReaderOptions } from "../../../model-runtime/checkpoint/row-reader";
import { readTensor, readWeight } from "../../../model-runtime/checkpoint/tensor-data";
import { goldenConfig, goldenTensors, type Json, safetensors, useTemporaryFolder, writeJson } from "./fixture";

const rows = 50;
const columns = 6;
const elementSize = { F32: 4, F16: 2, BF16: 2, I8: 1, U8: 1 };

describe("RowReader", () => {
  const path = useTemporaryFolder();

  function table(dtype: Dtype): HashTableLocation {
    const length = rows * columns * elementSize[dtype];
    // Small exponents only, so that no bit pattern is NaN.
    const data = new Uint8Array(8 + length).map((_, i) => (i * 73 + (i >> 3)) & 0x3f);
    const scales = Float32Array.from({ length: rows }, (_, i) => i / 8);
    writeFileSync(path("table.bin"), Buffer.concat([data, new Uint8Array(scales.buffer)]));
    const place = { file: "table.bin", directory: path() };
    return {
      ...{ name: "table", dtype, shape: [rows, columns], offset: 8, length, ...place },
      scales:
        dtype !== "I8"
          ? null
          : { name: "s", dtype: "F32", shape: [rows], offset: 8 + length, length: 4 * rows, ...place },
    };
  }

  function check(dtype: Dtype, options: RowReaderOptions) {
    const location = table(dtype);
    const expected = readTensor(location, location.scales === null ? undefined : readTensor(location.scales));
    const reader = new RowReader(location, options);
    fc.assert(
      fc.property(fc.array(fc.nat(rows - 1), { minLength: 1, maxLength: 60 }), (indices) => {
        const sum = new Float32Array(columns + 2).fill(1);
        for (const index of indices) {
          const row = new Float32Array(columns + 2).fill(9);
          reader.readRow(index, row, 1);
          assert.deepEqual([...row], [9, ...expected.subarray(index * columns, (index + 1) * columns), 9]);
        }
        reader.addRow(indices[0], sum, 2);
        const added = expected.subarray(indices[0] * columns, (indices[0] + 1) * columns).map((value) => value + 1);
        assert.deepEqual([...sum], [1, 1, ...added]);
      }),
    );
    reader.close();
  }

  for (const dtype of ["F32", "F16", "BF16", "I8"] as const) {
    it(`reads ${dtype} rows of a table held whole`, () => check(dtype, {}));
    it(`reads ${dtype} rows from the file, ten kept`, () => {
      check(dtype, { wholeTableBytes: 0, cacheBytes: 10 * columns * elementSize[dtype] });
    });
    it(`reads ${dtype} rows with room for not even one`, () => check(dtype, { wholeTableBytes: 0, cacheBytes: 1 }));
  }

  it("keeps the rows used last", () => {
    const location = table("F32");
    const reader = new RowReader(location, { wholeTableBytes: 0, cacheBytes: 2 * columns * 4 });
    const row = new Float32Array(columns);
    for (const index of [1, 2, 1, 3]) reader.readRow(index, row);
    const kept = [...readTensor(location).subarray(columns, 2 * columns)];
    writeFileSync(path("table.bin"), new Uint8Array(8 + location.length));
    reader.readRow(1, row);
    assert.deepEqual([...row], kept);
    reader.readRow(2, row);
    assert.deepEqual([...row], new Array(columns).fill(0));
    reader.close();
  });

  it("refuses a row that is not there", () => {
    const reader = new RowReader(table("F32"));
    for (const index of [-1, rows, Number.NaN]) {
      assert.throws(() => reader.readRow(index, new Float32Array(columns)), RangeError);
    }
  });

  it("reads rows and weights beyond 4 GiB of a sparse checkpoint that takes no room", () => {
    const config = { ...goldenConfig("k2"), encoder_hash_byte_group_vocab: 15_000_000 };
    const { bytes: head } = goldenTensors("k2").get("lm_head.weight")!;
    const header: Json = {};
    let offset = 0;
    const place = (name: string, shape: number[]) => {
      const length = shape.reduce((product, size) => product * size, 4);
      header[name] = { dtype: "F32", shape, data_offsets: [offset, (offset += length)] };
    };
    place("model.encoder_hash_tok_embedding.weight", [6 * 15_000_000, 16]);
    for (const [name, { shape }] of goldenTensors("k2")) if (!(name in header)) place(name, shape);
    const file = safetensors(header);
    const rowAt = file.length + (5 * 15_000_000 + 14_999_999) * 64;
    assert.ok(rowAt > 2 ** 32);

    writeJson(path("config.json"), config);
    const descriptor = openSync(path("model.safetensors"), "w");
    writeSync(descriptor, file);
    ftruncateSync(descriptor, file.length + offset);
    writeSync(descriptor, new Uint8Array(Float32Array.from({ length: 16 }, (_, i) => i + 0.5).buffer), 0, 64, rowAt);
    writeSync(descriptor, head, 0, head.length, file.length + header["lm_head.weight"].data_offsets[0]);
    closeSync(descriptor);
    assert.ok(statSync(path("model.safetensors")).blocks * 512 < 2 ** 20);

    const checkpoint = openCheckpoint(path());
    const reader = new RowReader(checkpoint.hashTables[5]);
    const row = new Float32Array(16);
    reader.readRow(14_999_999, row);
    assert.deepEqual(
      [...row],
      Array.from({ length: 16 }, (_, i) => i + 0.5),
    );
    reader.readRow(14_999_998, row);
    assert.deepEqual([...row], new Array(16).fill(0));
    reader.close();
    assert.deepEqual(readWeight(checkpoint, "lm_head.weight"), new Float32Array(head.slice().buffer));
  });
});
