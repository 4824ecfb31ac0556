import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import fc from "fast-check";
import { readSafetensorsHeader } from "../../../model-runtime/checkpoint/safetensors";
import { elementBytes } from "../../../model-runtime/checkpoint/tensor-data";
import {
  type TensorSource,
  writeSafetensors,
  writeTextFile,
} from "../../../model-runtime/checkpoint/write-safetensors";
import { checkRefused, namesIn, useTemporaryFolder } from "./fixture";

function source(name: string, dtype: TensorSource["dtype"], shape: number[], fill = 1): TensorSource {
  const bytes = new Uint8Array(shape.reduce((product, size) => product * size, elementBytes[dtype])).fill(fill);
  const half = bytes.length >> 1;
  return { name, dtype, shape, chunks: () => [bytes.subarray(0, half), bytes.subarray(half)] };
}

const full = async () => {
  throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
};

describe("writeSafetensors", () => {
  const path = useTemporaryFolder();

  it("writes what the reader reads, every tensor at a multiple of its element", () => {
    const dtype = fc.constantFrom("F32" as const, "F16" as const, "BF16" as const, "I8" as const);
    const tensors = fc.array(fc.tuple(dtype, fc.array(fc.nat(20), { maxLength: 3 })), { maxLength: 8 });
    return fc.assert(
      fc.asyncProperty(tensors, async (list) => {
        const sources = list.map(([type, shape], i) => source(`t${i}`, type, shape, i));
        await writeSafetensors(path("a.safetensors"), sources, { metadata: { format: "pt" } });
        const header = readSafetensorsHeader(path("a.safetensors"));
        const file = readFileSync(path("a.safetensors"));
        assert.equal(header.size, sources.length);
        sources.forEach(({ name, dtype: type, shape }, i) => {
          const entry = header.get(name)!;
          assert.deepEqual([entry.dtype, entry.shape], [type, shape]);
          assert.equal(entry.offset % elementBytes[type], 0);
          if (entry.length % 64 === 0) assert.equal(entry.offset % 64, 0);
          assert.ok(file.subarray(entry.offset, entry.offset + entry.length).every((byte) => byte === i));
        });
        assert.equal(
          file.length,
          Math.max(...[...header.values()].map(({ offset, length }) => offset + length), file.readUInt32LE() + 8),
        );
        assert.deepEqual(namesIn(path()), ["a.safetensors"]);
      }),
      { numRuns: 40 },
    );
  });

  it("reports its progress in bytes", async () => {
    const calls: number[][] = [];
    const onProgress = (...call: number[]) => calls.push(call);
    await writeSafetensors(path("a.safetensors"), [source("a", "F32", [4]), source("b", "I8", [4])], { onProgress });
    assert.deepEqual(calls, [
      [8, 20],
      [16, 20],
      [18, 20],
      [20, 20],
    ]);
  });

  it("goes on where the system took only a part of a chunk", async () => {
    const write = async (
      file: { write: (chunk: Uint8Array) => Promise<{ bytesWritten: number }> },
      chunk: Uint8Array,
    ) => (await file.write(chunk.subarray(0, 7))).bytesWritten;
    await writeSafetensors(path("a.safetensors"), [source("a", "F32", [100])], { write });
    await writeSafetensors(path("b.safetensors"), [source("a", "F32", [100])]);
    assert.deepEqual(readFileSync(path("a.safetensors")), readFileSync(path("b.safetensors")));
  });

  it("leaves nothing behind on a full disk, and an older file as it was", async () => {
    let writes = 0;
    const write = (_file: unknown, chunk: Uint8Array) => (writes++ < 2 ? Promise.resolve(chunk.length) : full());
    writeFileSync(path("a.safetensors"), "older");
    const run = () => writeSafetensors(path("a.safetensors"), [source("a", "F32", [100])], { write });
    await checkRefused(run, /disk is full/, /a\.safetensors/);
    assert.deepEqual(namesIn(path()), ["a.safetensors"]);
    assert.equal(readFileSync(path("a.safetensors"), "utf8"), "older");
  });

  it("leaves nothing behind when it is aborted", async () => {
    const controller = new AbortController();
    const onProgress = () => controller.abort();
    const run = writeSafetensors(path("a.safetensors"), [source("a", "F32", [100])], {
      onProgress,
      signal: controller.signal,
    });
    await assert.rejects(run, { name: "AbortError" });
    assert.deepEqual(namesIn(path()), []);
  });

  it("leaves nothing behind when a tensor's data fail or are too short", async () => {
    const failing = { ...source("a", "F32", [2]), chunks: () => [new Uint8Array(4)] };
    await assert.rejects(writeSafetensors(path("a.safetensors"), [failing]), /Tensor a gave -4 bytes more/);
    assert.deepEqual(namesIn(path()), []);
  });

  it("refuses a folder that is not there, or is a file", async () => {
    await checkRefused(() => writeSafetensors(path("none/a.safetensors"), []), /folder is not there/);
    writeFileSync(path("file"), "");
    await checkRefused(() => writeTextFile(path("file/config.json"), "{}"), /folder is not there/);
  });

  it("does not take the place of a folder", async () => {
    mkdirSync(path("a.safetensors"));
    await assert.rejects(writeSafetensors(path("a.safetensors"), []));
    assert.deepEqual(namesIn(path()), ["a.safetensors"]);
  });
});
