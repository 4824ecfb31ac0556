import assert from "node:assert/strict";
import { truncateSync, writeFileSync } from "node:fs";
import { readSafetensorsHeader } from "../../../model-runtime/checkpoint/safetensors";
import { checkRefused, goldenFolder, type Json, safetensors, useTemporaryFolder } from "./fixture";

const tensor = (start: number, end: number, changes: Json = {}) => ({
  dtype: "F32",
  shape: [(end - start) / 4],
  data_offsets: [start, end],
  ...changes,
});

describe("safetensors header", () => {
  const path = useTemporaryFolder();

  function checkDamaged(bytes: Uint8Array, ...patterns: RegExp[]) {
    writeFileSync(path("model.safetensors"), bytes);
    return checkRefused(() => readSafetensorsHeader(path("model.safetensors")), /model\.safetensors/, ...patterns);
  }

  it("gives each tensor's type, shape and place in the file", () => {
    const header = { __metadata__: { format: "pt" }, a: tensor(0, 8), b: tensor(8, 10, { dtype: "BF16", shape: [] }) };
    header.b.data_offsets = [8, 10];
    const file = safetensors(header, new Uint8Array(10));
    writeFileSync(path("a.safetensors"), file);
    const start = file.length - 10;
    assert.deepEqual(
      [...readSafetensorsHeader(path("a.safetensors")).values()],
      [
        { name: "a", dtype: "F32", shape: [2], offset: start, length: 8 },
        { name: "b", dtype: "BF16", shape: [], offset: start + 8, length: 2 },
      ],
    );
  });

  it("reads the golden files", () => {
    for (const name of ["k2", "k4"] as const) {
      const count = readSafetensorsHeader(`${goldenFolder(name)}/model.safetensors`).size;
      assert.equal(count, name === "k2" ? 105 : 106);
    }
  });

  it("refuses an empty file", () => checkDamaged(new Uint8Array(), /only 0 bytes/));
  it("refuses a header length beyond the file", () =>
    checkDamaged(safetensors({}).subarray(0, 9), /would have 2 bytes, the file has 9/));
  it("refuses a header length beyond the format's limit", () => {
    const bytes = Buffer.alloc(16);
    bytes.writeBigUInt64LE(2n ** 63n);
    return checkDamaged(bytes, /the format allows 100000000/);
  });
  it("refuses a header that is not JSON", () => checkDamaged(safetensors("{a:1}"), /not JSON/));
  it("refuses a header that is no object", () => checkDamaged(safetensors([]), /not a JSON object/));
  it("refuses a tensor that is no object", () => checkDamaged(safetensors({ a: 3 }), /tensor a is described by 3/));
  it("refuses an unknown dtype", () => {
    return checkDamaged(safetensors({ a: tensor(0, 8, { dtype: "Q4_K" }) }, new Uint8Array(8)), /Tensor a .*"Q4_K"/);
  });
  it("refuses a dtype named like a property of objects", () => {
    return checkDamaged(safetensors({ a: tensor(0, 8, { dtype: "constructor" }) }, new Uint8Array(8)), /"constructor"/);
  });
  it("refuses a length that does not match the shape", () => {
    return checkDamaged(
      safetensors({ a: tensor(0, 8, { shape: [3] }) }, new Uint8Array(8)),
      /shape \[3\] needs 12 bytes, but has 8/,
    );
  });
  it("refuses a shape of fractions", () =>
    checkDamaged(safetensors({ a: tensor(0, 8, { shape: [1.5] }) }), /shape \[1.5\]/));
  it("refuses negative offsets", () => checkDamaged(safetensors({ a: tensor(-8, 0) }), /offsets \[-8,0\]/));
  it("refuses offsets in the wrong order", () => {
    return checkDamaged(
      safetensors({ a: tensor(0, 8, { data_offsets: [8, 0] }) }, new Uint8Array(8)),
      /offsets \[8,0\]/,
    );
  });
  it("refuses overlapping tensors", () => {
    return checkDamaged(safetensors({ a: tensor(0, 8), b: tensor(4, 12) }, new Uint8Array(12)), /tensor b overlaps a/);
  });
  it("refuses offsets beyond the file", () =>
    checkDamaged(safetensors({ a: tensor(0, 8) }, new Uint8Array(7)), /tensor a ends at byte/));
  it("refuses a tensor described twice", () => {
    const entry = JSON.stringify(tensor(0, 8));
    return checkDamaged(
      safetensors(`{"a":${entry},"\\u0061":${entry}}`, new Uint8Array(8)),
      /tensor a is described twice/,
    );
  });
  it("refuses a truncated file", async () => {
    writeFileSync(path("a.safetensors"), safetensors({ a: tensor(0, 800) }, new Uint8Array(800)));
    truncateSync(path("a.safetensors"), 400);
    await checkRefused(
      () => readSafetensorsHeader(path("a.safetensors")),
      /damaged, incomplete/,
      /the file has 400 bytes/,
    );
  });
  it("takes braces and quotes in names for what they are", () => {
    writeFileSync(path("a.safetensors"), safetensors({ '{"}': tensor(0, 8), "}": tensor(8, 16) }, new Uint8Array(16)));
    assert.deepEqual([...readSafetensorsHeader(path("a.safetensors")).keys()], ['{"}', "}"]);
  });
});
