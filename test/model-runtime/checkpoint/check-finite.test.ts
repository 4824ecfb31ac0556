import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import fc from "fast-check";
import { checkFinite } from "../../../model-runtime/checkpoint/check-finite";
import type { Checkpoint, Dtype } from "../../../model-runtime/checkpoint/checkpoint";
import { openCheckpoint } from "../../../model-runtime/checkpoint/open-checkpoint";
import {
  checkRefused,
  floats,
  goldenConfig,
  goldenFolder,
  goldenWith,
  useTemporaryFolder,
  writeCheckpointFolder,
  writeMetaFolder,
} from "./fixture";

const hashTable = "model.encoder_hash_tok_embedding.weight";
const norm = "model.global_transformer.layers.1.input_layernorm.weight";
const head = "lm_head.weight";

describe("checkFinite", () => {
  const path = useTemporaryFolder();

  it("accepts the golden checkpoints in both layouts", () => {
    for (const name of ["k2", "k4"] as const) {
      checkFinite(openCheckpoint(goldenFolder(name)));
      checkFinite(openCheckpoint(writeMetaFolder(path(name), name)));
    }
  });

  /** The k2 checkpoint with one value of one tensor set. */
  function spoiled(name: string, shape: number[], index: number, value: number) {
    const values = new Float32Array(shape.reduce((product, size) => product * size, 1));
    values[index] = value;
    const tensors = goldenWith("k2", { [name]: floats(shape, values) });
    return openCheckpoint(writeCheckpointFolder(path(), goldenConfig("k2"), tensors));
  }

  it("names the tensor and the place of a NaN", () => {
    return checkRefused(
      () => checkFinite(spoiled(head, [260, 16], 5 * 16 + 3, Number.NaN)),
      /lm_head\.weight/,
      /\[5, 3\]/,
    );
  });
  it("names the place of an infinity in a vector", () => {
    return checkRefused(
      () => checkFinite(spoiled(norm, [32], 31, Number.NEGATIVE_INFINITY)),
      /layers\.1\.input_layernorm/,
      /\[31\]/,
    );
  });
  it("looks into a hash table up to a limit", async () => {
    const checkpoint = spoiled(hashTable, [606, 16], 605 * 16, Number.NaN);
    await checkRefused(() => checkFinite(checkpoint), /encoder_hash_tok_embedding\.weight/, /\[605, 0\]/);
    checkFinite(checkpoint, { hashTableBytes: 1000 });
  });

  it("finds exactly the bit patterns that are no numbers", () => {
    const exponents: [Dtype, number, fc.Arbitrary<number>][] = [
      ["F32", 0x7f800000, fc.integer({ min: 0, max: 0xffffffff })],
      ["F16", 0x7c00, fc.integer({ min: 0, max: 0xffff })],
      ["BF16", 0x7f80, fc.integer({ min: 0, max: 0xffff })],
    ];
    for (const [dtype, mask, pattern] of exponents) {
      const often = fc.oneof(
        pattern,
        pattern.map((bits) => (bits | mask) >>> 0),
        pattern.map((bits) => (bits & ~mask) >>> 0),
      );
      const property = fc.property(fc.array(often, { minLength: 1, maxLength: 9 }), (patterns) => {
        const data = dtype === "F32" ? Uint32Array.from(patterns) : Uint16Array.from(patterns);
        writeFileSync(path("t.bin"), data);
        const location = {
          name: "t",
          dtype,
          shape: [data.length],
          file: "t.bin",
          directory: path(),
          offset: 0,
          length: data.byteLength,
        };
        const checkpoint = { tensors: new Map([["t", location]]), hashTables: [] } as unknown as Checkpoint;
        const index = patterns.findIndex((bits) => (bits & mask) === mask);
        if (index < 0) checkFinite(checkpoint);
        else assert.throws(() => checkFinite(checkpoint), new RegExp(`at \\[${index}\\]`));
      });
      fc.assert(property);
    }
  });
});
