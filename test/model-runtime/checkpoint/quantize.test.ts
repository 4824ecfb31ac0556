import assert from "node:assert/strict";
import fc from "fast-check";
import { openCheckpoint } from "../../../model-runtime/checkpoint/open-checkpoint";
import { blockScale, quantizeCheckpoint, rowScale } from "../../../model-runtime/checkpoint/quantize";
import { RowReader } from "../../../model-runtime/checkpoint/row-reader";
import { readTensor, readWeight } from "../../../model-runtime/checkpoint/tensor-data";
import {
  checkRefused,
  floats,
  goldenConfig,
  goldenFolder,
  goldenWith,
  namesIn,
  useTemporaryFolder,
  writeCheckpointFolder,
  writeMetaFolder,
} from "./fixture";

const hashTable = "model.encoder_hash_tok_embedding.weight";

/** Squared error of values written with this scale in whole numbers of a range. */
function errorOf(row: Float32Array, scale: number, [least, most] = [-127, 127]): number {
  const level = (value: number) => Math.max(least, Math.min(most, Math.round(value / scale)));
  return row.reduce((sum, value) => sum + (value - level(value) * scale) ** 2, 0);
}

/** Error of the weights of a tensor relative to their root mean square. */
function relativeError(before: Float32Array, after: Float32Array): number {
  const square = before.reduce((sum, value) => sum + value * value, 0);
  return Math.sqrt(before.reduce((sum, value, i) => sum + (value - after[i]) ** 2, 0) / square);
}

describe("quantizeCheckpoint", () => {
  const path = useTemporaryFolder();

  it("writes int8 rows for matrices and tables, F16 for embeddings and heads, F32 for norms", async () => {
    for (const name of ["k2", "k4"] as const) {
      const source = openCheckpoint(goldenFolder(name));
      await quantizeCheckpoint(source, path(name));
      const written = openCheckpoint(path(name));
      assert.deepEqual(written.config, { ...source.config, quantization: "blt-int8" });
      assert.deepEqual(namesIn(path(name)), ["config.json", "model.safetensors"]);
      for (const [tensor, { shape }] of source.tensors) {
        const dtype = shape.length === 1 ? "F32" : /(embed_tokens|lm_head)/.test(tensor) ? "F16" : "I8";
        assert.equal(written.tensors.get(tensor)!.dtype, dtype, tensor);
        const [before, after] = [readWeight(source, tensor), readWeight(written, tensor)];
        const columns = shape[1] ?? 1;
        for (let row = 0; row < shape[0]; row++) {
          const values = before.subarray(row * columns, (row + 1) * columns);
          const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
          // Half a step of int8 where nothing is clipped, and the clipping a row may choose; 2^-11 of F16.
          const bound = dtype === "F32" ? 0 : dtype === "F16" ? 2 ** -11 * largest + 2 ** -25 : 0.21 * largest;
          values.forEach((value, i) => {
            assert.ok(Math.abs(after[row * columns + i] - value) <= bound, `${tensor} ${row} ${i}`);
          });
        }
      }
    }
  });

  it("loses little of the weights: below 1 % of their root mean square", async () => {
    const source = openCheckpoint(goldenFolder("k2"));
    await quantizeCheckpoint(source, path("q"));
    const written = openCheckpoint(path("q"));
    for (const [tensor, { shape }] of source.tensors) {
      if (shape.length === 1) continue;
      const error = relativeError(readWeight(source, tensor), readWeight(written, tensor));
      assert.ok(error < 0.01, `${tensor} ${error}`);
    }
  });

  it("with 4 bits writes the latent transformer's matrices that are whole blocks in blocks, all else as with 8", async () => {
    const source = openCheckpoint(goldenFolder("k2"));
    await quantizeCheckpoint(source, path("8"));
    await quantizeCheckpoint(source, path("4"), { bits: 4 });
    const [eight, four] = [openCheckpoint(path("8")), openCheckpoint(path("4"))];
    assert.deepEqual(four.config, { ...source.config, quantization: "blt-blocks-symmetric" });
    for (const [tensor, { shape }] of source.tensors) {
      if (shape[1] % 32 === 0 && tensor.startsWith("model.global_transformer.")) {
        assert.equal(four.tensors.get(tensor)!.dtype, "U8");
        // Sixteen steps over some three deviations.
        const error = relativeError(readWeight(source, tensor), readWeight(four, tensor));
        assert.ok(error > 0.02 && error < 0.1, `${tensor} ${error}`);
      } else {
        assert.deepEqual(readWeight(four, tensor), readWeight(eight, tensor));
      }
    }
  });

  it("gives every hash table its own rows and scales, from either layout", async () => {
    await quantizeCheckpoint(openCheckpoint(goldenFolder("k2")), path("q"));
    await quantizeCheckpoint(openCheckpoint(writeMetaFolder(path("meta"), "k2")), path("qm"));
    const written = openCheckpoint(path("q"));
    assert.deepEqual(openCheckpoint(path("qm")).config, written.config);
    const whole = readWeight(written, hashTable);
    for (const folder of ["q", "qm"]) {
      openCheckpoint(path(folder)).hashTables.forEach((table, slot) => {
        const reader = new RowReader(table);
        const row = new Float32Array(16);
        reader.readRow(77, row);
        assert.deepEqual(row, whole.slice((slot * 101 + 77) * 16, (slot * 101 + 78) * 16));
      });
    }
    const scales = readTensor(written.tensors.get(`${hashTable}_scale`)!);
    assert.equal(scales.length, 606);
  });

  it("chooses a scale at least as good as that of the largest magnitude", () => {
    const values = fc.array(fc.float({ min: -100, max: 100, noNaN: true }), { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(values, (array) => {
        const row = Float32Array.from(array);
        const largest = row.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
        const scale = rowScale(row);
        assert.ok(Number.isFinite(scale) && scale > 0);
        if (largest > 0) assert.ok(errorOf(row, scale) <= errorOf(row, largest / 127) * (1 + 1e-9) + 1e-30);
      }),
    );
  });

  it("fits the scale to the integers: better than any end of the range taken as it is", () => {
    const row = Float32Array.from({ length: 200 }, (_, i) => Math.sin(i * i));
    const best = Math.min(...Array.from({ length: 30 }, (_, i) => errorOf(row, (1 - i / 100) / 127)));
    assert.ok(errorOf(row, rowScale(row)) < best);
  });

  it("clips an outlier where that serves the other values", () => {
    const row = Float32Array.from({ length: 4000 }, (_, i) => (i === 0 ? 4 : Math.sin(i)));
    assert.ok(errorOf(row, rowScale(row)) < 0.98 * errorOf(row, 4 / 127));
  });

  it("knows rows of zeros and rows that are not finite", () => {
    assert.equal(rowScale(new Float32Array(3)), 1);
    assert.equal(rowScale(Float32Array.of(1e-45, 0)), 1);
    assert.ok(Number.isNaN(rowScale(Float32Array.of(1, Number.NaN))));
    assert.ok(Number.isNaN(rowScale(Float32Array.of(1, Number.POSITIVE_INFINITY))));
  });

  it("chooses a scale for a block at least as good as those of its ends", () => {
    const values = fc.array(fc.float({ min: -100, max: 100, noNaN: true, noDefaultInfinity: true }), {
      minLength: 32,
      maxLength: 32,
    });
    fc.assert(
      fc.property(values, (array) => {
        // An F16 scale is up to 2^-11 off, and coarse below 2^-14.
        const block = Float32Array.from(array, (value) => (Math.abs(value) < 0.01 ? 0 : value));
        const largest = block.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
        const scale = blockScale(block);
        if (largest === 0) assert.equal(scale, 0);
        else
          for (const end of [largest / -8, Math.abs(largest) / 7]) {
            const [found, other] = [scale, end].map((each) => errorOf(block, each, [-8, 7]));
            assert.ok(found <= other * 1.01 + 1e-4 * largest * largest, `${found} ${other}`);
          }
      }),
    );
  });

  it("knows blocks of zeros and blocks that are not finite", () => {
    assert.equal(blockScale(new Float32Array(32)), 0);
    assert.ok(Number.isNaN(blockScale(new Float32Array(32).fill(Number.NaN, 7, 8))));
    assert.ok(Number.isNaN(blockScale(new Float32Array(32).fill(Number.NEGATIVE_INFINITY, 31))));
  });

  for (const bits of [8, 4] as const) {
    it(`leaves nothing behind on a full disk, ${bits} bits`, async () => {
      let writes = 0;
      const write = (_file: unknown, chunk: Uint8Array) => {
        if (writes++ < 5) return Promise.resolve(chunk.length);
        return Promise.reject(Object.assign(new Error("write"), { code: "ENOSPC" }));
      };
      await checkRefused(
        () => quantizeCheckpoint(openCheckpoint(goldenFolder("k2")), path("q"), { bits, write }),
        /disk is full/,
      );
      assert.deepEqual(namesIn(path()), []);
    });

    for (const [name, width] of [
      ["model.local_decoder.layers.1.self_attn.v_proj.weight", 16],
      ["model.global_transformer.layers.1.self_attn.v_proj.weight", 32],
    ] as const)
      it(`leaves nothing behind when a weight of ${name} is not finite, ${bits} bits`, async () => {
        const values = new Float32Array(width * width).fill(1);
        values[2 * width + 8] = Number.NaN;
        const tensors = goldenWith("k2", { [name]: floats([width, width], values) });
        writeCheckpointFolder(path("nan"), goldenConfig("k2"), tensors);
        const run = () => quantizeCheckpoint(openCheckpoint(path("nan")), path("q"), { bits });
        await checkRefused(run, new RegExp(`Row 2 of tensor ${name.replaceAll(".", "\\.")}`));
        assert.deepEqual(namesIn(path()), ["nan"]);
      });
  }

  it("refuses what is quantised already", async () => {
    await quantizeCheckpoint(openCheckpoint(goldenFolder("k2")), path("q"));
    await checkRefused(() => quantizeCheckpoint(openCheckpoint(path("q")), path("q2")), /quantised already/);
  });
});
