import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { type ConvertOptions, convertCheckpoint } from "../../../model-runtime/checkpoint/convert";
import { bfloatValue, halfValues, toBfloat, toHalf } from "../../../model-runtime/checkpoint/half";
import { openCheckpoint } from "../../../model-runtime/checkpoint/open-checkpoint";
import { quantizeCheckpoint } from "../../../model-runtime/checkpoint/quantize";
import { readBytes, readWeight } from "../../../model-runtime/checkpoint/tensor-data";
import {
  checkRefused,
  floats,
  goldenConfig,
  goldenFolder,
  goldenTensors,
  goldenWith,
  namesIn,
  useTemporaryFolder,
  writeCheckpointFolder,
  writeMetaFolder,
} from "./fixture";

describe("convertCheckpoint", () => {
  const path = useTemporaryFolder();

  /** Converts the golden checkpoint in Meta's layout and compares each value with `expected` of the golden one. */
  async function check(
    name: "k2" | "k4",
    dtype: ConvertOptions["dtype"],
    stored: string,
    expected: (value: number) => number,
  ) {
    await convertCheckpoint(openCheckpoint(writeMetaFolder(path("meta"), name)), path("out"), { dtype });
    const golden = openCheckpoint(goldenFolder(name));
    const converted = openCheckpoint(path("out"));
    assert.deepEqual(converted.config, golden.config);
    assert.deepEqual(new Set(converted.tensors.keys()), new Set(golden.tensors.keys()));
    for (const [tensor, location] of converted.tensors) {
      assert.equal(location.dtype, stored);
      assert.deepEqual(readWeight(converted, tensor), readWeight(golden, tensor).map(expected), tensor);
    }
    assert.deepEqual(namesIn(path("out")), ["config.json", "model.safetensors"]);
  }

  it("keeps every byte of Meta's F32", () => check("k2", "keep", "F32", (value) => value));
  it("keeps every byte of Meta's BF16", () => check("k4", undefined, "BF16", (value) => value));
  it("widens BF16 to F32", () => check("k4", "F32", "F32", (value) => value));
  it("rounds F32 to F16", () => check("k2", "F16", "F16", (value) => halfValues()[toHalf(value)]));
  it("rounds F32 to BF16", () => check("k2", "BF16", "BF16", (value) => bfloatValue(toBfloat(value))));

  it("writes the windows and the patching settings in force", async () => {
    await convertCheckpoint(openCheckpoint(writeMetaFolder(path("meta"), "k2")), path("out"));
    const json = JSON.parse(readFileSync(path("out/config.json"), "utf8"));
    assert.deepEqual([json.model_type, json.patching_mode, json.patching_threshold], ["blt", "entropy", 1.2182]);
    const networks = [json.patcher_config, json.encoder_config, json.decoder_config, json.global_config];
    assert.deepEqual(
      networks.map(({ sliding_window }) => sliding_window),
      [512, 512, 512, null],
    );
  });

  for (const [bits, form] of [
    [8, "blt-int8"],
    [4, "blt-blocks-symmetric"],
  ] as const)
    it(`copies weights of ${bits} bits, or multiplies them out`, async () => {
      await quantizeCheckpoint(openCheckpoint(goldenFolder("k2")), path("quantised"), { bits });
      const source = openCheckpoint(path("quantised"));
      await convertCheckpoint(source, path("kept"));
      await convertCheckpoint(source, path("float"), { dtype: "F32" });
      const [kept, float] = [openCheckpoint(path("kept")), openCheckpoint(path("float"))];
      assert.deepEqual([kept.config.quantization, float.config.quantization], [form, null]);
      assert.deepEqual(new Set(float.tensors.keys()), new Set(goldenTensors("k2").keys()));
      for (const [name, location] of source.tensors) {
        assert.deepEqual(readBytes(kept.tensors.get(name)!), readBytes(location));
        if (!name.endsWith("_scale")) assert.deepEqual(readWeight(float, name), readWeight(source, name));
      }
    });

  it("goes on in a folder that is there already", async () => {
    await convertCheckpoint(openCheckpoint(goldenFolder("k2")), path("out"));
    await convertCheckpoint(openCheckpoint(goldenFolder("k4")), path("out"));
    assert.deepEqual(openCheckpoint(path("out")).config, openCheckpoint(goldenFolder("k4")).config);
    assert.deepEqual(namesIn(path("out")), ["config.json", "model.safetensors"]);
  });

  it("refuses a value that the type cannot hold, and leaves nothing behind", async () => {
    const values = new Float32Array(260 * 16);
    values[3] = 1e6;
    writeCheckpointFolder(
      path("big"),
      goldenConfig("k2"),
      goldenWith("k2", { "lm_head.weight": floats([260, 16], values) }),
    );
    const run = () => convertCheckpoint(openCheckpoint(path("big")), path("out"), { dtype: "F16" });
    await checkRefused(run, /Tensor lm_head\.weight holds 1000000/);
    assert.deepEqual(namesIn(path()), ["big"]);
  });

  it("leaves nothing behind when it is aborted", async () => {
    const controller = new AbortController();
    const options = { signal: controller.signal, onProgress: () => controller.abort() };
    await assert.rejects(convertCheckpoint(openCheckpoint(goldenFolder("k2")), path("out"), options), {
      name: "AbortError",
    });
    assert.deepEqual(namesIn(path()), []);
  });

  it("does not write out the missing windows of hf semantics", () => {
    const checkpoint = openCheckpoint(goldenFolder("k2"), { semantics: "hf" });
    return assert.rejects(convertCheckpoint(checkpoint, path("out")), /lost its windows/);
  });
});
