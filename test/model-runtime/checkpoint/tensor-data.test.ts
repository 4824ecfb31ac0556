import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import fc from "fast-check";
import type { Dtype, TensorLocation } from "../../../model-runtime/checkpoint/checkpoint";
import { openCheckpoint } from "../../../model-runtime/checkpoint/open-checkpoint";
import {
  readBytes,
  readChunks,
  readRowBlocks,
  readRows,
  readTensor,
  readWeight,
} from "../../../model-runtime/checkpoint/tensor-data";
import { checkRefused, goldenFolder, goldenTensors, useTemporaryFolder } from "./fixture";

describe("tensor data", () => {
  const path = useTemporaryFolder();

  /** A tensor of `shape` at an odd place of a file of its own. */
  function stored(dtype: Dtype, shape: number[], values: Uint8Array): TensorLocation {
    writeFileSync(path("t.bin"), Buffer.concat([Buffer.from("odd"), values]));
    return { name: "t", dtype, shape, file: "t.bin", directory: path(), offset: 3, length: values.length };
  }

  const check = (dtype: Dtype, data: ArrayBufferView, expected: number[], scales?: number[]) => {
    const location = stored(dtype, [2, 2], new Uint8Array(data.buffer));
    const scale = scales === undefined ? undefined : Float32Array.from(scales);
    assert.deepEqual([...readTensor(location, scale)], expected);
    assert.deepEqual([...readRows(location, 1, 1, scale)], expected.slice(2));
  };

  it("reads F32", () => check("F32", Float32Array.of(1, -2.5, 3, 2 ** 100), [1, -2.5, 3, 2 ** 100]));
  it("reads F16", () => check("F16", Uint16Array.of(0x3c00, 0xc100, 1, 0x7bff), [1, -2.5, 2 ** -24, 65504]));
  it("reads BF16", () => check("BF16", Uint16Array.of(0x3f80, 0xc020, 0x7180, 0x8000), [1, -2.5, 2 ** 100, -0]));
  it("reads int8 with a scale a row", () => check("I8", Int8Array.of(1, -127, 2, 127), [0.5, -63.5, 4, 254], [0.5, 2]));

  it("reads a vector as rows of one", () => {
    const vector = stored("F32", [3], new Uint8Array(Float32Array.of(1, 2, 3).buffer));
    assert.deepEqual([...readRows(vector, 1, 2)], [2, 3]);
  });

  it("passes a tensor through in chunks and blocks, nothing lost", () => {
    const values = Float32Array.from({ length: 2 ** 21 + 6 }, (_, i) => i);
    const location = stored("F32", [values.length / 2, 2], new Uint8Array(values.buffer));
    const chunks = [...readChunks(location)].map(({ length }) => length);
    assert.deepEqual(chunks, [2 ** 22, 2 ** 22, 24]);
    assert.deepEqual(
      [...readRowBlocks(location)].map(({ length, 0: first }) => [length, first]),
      [
        [2 ** 20, 0],
        [2 ** 20, 2 ** 20],
        [6, 2 ** 21],
      ],
    );
    assert.deepEqual(readBytes(location), new Uint8Array(values.buffer));
  });

  it("reads the same rows alone as within the whole", () => {
    const values = new Uint8Array(2 * 7 * 5).map((_, i) => i * 37);
    const location = stored("BF16", [7, 5], values);
    const whole = readTensor(location);
    fc.assert(
      fc.property(fc.nat(7), fc.nat(7), (a, b) => {
        const [first, end] = [Math.min(a, b), Math.max(a, b)];
        assert.deepEqual(readRows(location, first, end - first), whole.slice(first * 5, end * 5));
      }),
    );
  });

  it("reads the golden weights", () => {
    const { bytes } = goldenTensors("k2").get("lm_head.weight")!;
    const expected = new Float32Array(bytes.slice().buffer);
    assert.deepEqual(readWeight(openCheckpoint(goldenFolder("k2")), "lm_head.weight"), expected);
  });

  it("refuses a file that has gone or ends early", async () => {
    const location = stored("F32", [2, 2], new Uint8Array(16));
    await checkRefused(() => readTensor({ ...location, offset: 7 }), /t\.bin ends at byte 19/);
    rmSync(path("t.bin"));
    await checkRefused(() => readTensor(location), /t\.bin cannot be read \(ENOENT\)/);
  });
});
