import assert from "node:assert/strict";
import { readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import {
  floats,
  goldenConfig,
  goldenFolder,
  goldenTensors,
  goldenWith,
  type Json,
  namesIn,
  safetensors,
  useTemporaryFolder,
  writeCheckpointFolder,
  writeJson,
} from "../checkpoint/fixture";
import { useCli } from "./cli";

const query = "model.local_encoder.layers.0.self_attn.q_proj.weight";
const patcherHead = "model.patcher.lm_head.weight";

describe("blt refuses a checkpoint", () => {
  const cli = useCli();
  const path = useTemporaryFolder();

  /** Spoils a copy of the golden checkpoint and runs commands that need what is spoiled. */
  function check(what: string, spoil: (folder: string) => void, message: RegExp, commands = ["logits", "patch"]) {
    it(what, async () => {
      writeCheckpointFolder(path("model"), goldenConfig("k2"), goldenTensors("k2"));
      spoil(path("model"));
      const before = namesIn(path());
      const files = namesIn(path("model"));
      for (const command of commands) {
        const args = command === "logits" ? ["--ids", "1,76"] : ["-"];
        await cli.refused([command, ...args, "--model", path("model")], message, { input: "Hello" });
      }
      assert.deepEqual([namesIn(path()), namesIn(path("model"))], [before, files]);
    });
  }

  const weights = (folder: string) => `${folder}/model.safetensors`;
  const withHeader = (folder: string, change: (header: Json) => void) => {
    const file = readFileSync(weights(folder));
    const length = Number(file.readBigUInt64LE());
    const header = JSON.parse(file.toString("utf8", 8, 8 + length));
    change(header);
    writeFileSync(weights(folder), safetensors(header, file.subarray(8 + length)));
  };
  const withConfig = (folder: string, change: Json) =>
    writeJson(`${folder}/config.json`, { ...goldenConfig("k2"), ...change });
  const withTensors = (folder: string, changes: Parameters<typeof goldenWith>[1]) =>
    writeCheckpointFolder(folder, goldenConfig("k2"), goldenWith("k2", changes));
  const withNaN = (shape: number[]) => floats(shape, new Float32Array(shape[0] * shape[1]).fill(Number.NaN, 20, 21));

  check("without a configuration", (folder) => rmSync(`${folder}/config.json`), /There is no config\.json in .*model;/);
  check("without weights", (folder) => rmSync(weights(folder)), /neither model\.safetensors nor .* in .*model;/);
  check(
    "cut off",
    (folder) => truncateSync(weights(folder), 200_000),
    /model\.safetensors is damaged.* has 200000 bytes/,
  );
  check(
    "with a header beyond the file",
    (folder) => writeFileSync(weights(folder), Buffer.from("ffffff0000000000aa", "hex")),
    /header would have 16777215 bytes, the file has 9/,
  );
  check(
    "with an unknown type",
    (folder) => withHeader(folder, (header) => Object.assign(header[query], { dtype: "F3" })),
    /q_proj\.weight in .* has the unknown type "F3"/,
  );
  check(
    "with a tensor missing",
    (folder) => withTensors(folder, { [query]: null }),
    /q_proj\.weight of shape .* missing/,
  );
  check(
    "with a tensor of another shape",
    (folder) => withTensors(folder, { [query]: floats([8, 16], new Float32Array(128)) }),
    /q_proj\.weight .* has shape \[8,16\], but config\.json implies \[16,16\]/,
  );
  check(
    "with offsets that overlap",
    (folder) =>
      withHeader(folder, (header) => {
        const [from, to] = header[query].data_offsets;
        header[query].data_offsets = [from - 64, to - 64];
      }),
    /q_proj\.weight overlaps|overlaps .*q_proj\.weight/,
  );
  check(
    "with offsets that leave the file",
    (folder) => withHeader(folder, (header) => (header[query].data_offsets = [1e9, 1e9 + 1024])),
    /q_proj\.weight ends at byte 100\d+, but the file has/,
  );
  check(
    "with a weight that is no number",
    (folder) => withTensors(folder, { [query]: withNaN([16, 16]) }),
    /q_proj\.weight in .* is not a finite number at \[1, 4\]/,
    ["logits", "generate"],
  );
  check(
    "with an entropy model that is no number",
    (folder) => withTensors(folder, { [patcherHead]: withNaN([260, 16]) }),
    /patcher\.lm_head\.weight in .* is not a finite number at \[1, 4\]/,
  );
  check(
    "whose configuration contradicts its tensors",
    (folder) => withConfig(folder, { encoder_hash_byte_group_vocab: 100 }),
    /encoder_hash_tok_embedding\.weight .* has shape \[606,16\], but config\.json implies \[600,16\]/,
  );
  check("of an unknown patching mode", (folder) => withConfig(folder, { patching_mode: "word" }), /"word"/);
  check(
    "whose threshold is no number",
    (folder) => {
      const text = JSON.stringify(goldenConfig("k2")).replace("1.2182", "NaN");
      writeJson(`${folder}/config.json`, text);
    },
    /config\.json/,
  );
  check("with another type than blt", (folder) => withConfig(folder, { model_type: "llama" }), /"llama"/);
});

describe("blt refuses folders", () => {
  const cli = useCli();
  const path = useTemporaryFolder();

  it("that are not there, or are files", async () => {
    writeFileSync(path("file"), "x");
    const text = ["patch", path("file"), "--model"];
    await cli.refused([...text, path("none")], /There is no folder .*none; name the folder of the checkpoint/);
    await cli.refused([...text, path("file")], /file is a file; name the folder of the checkpoint/);
    const entropy = [...text, goldenFolder("k2"), "--entropy-model"];
    await cli.refused([...entropy, path("none")], /There is no folder .*none; name the folder of the entropy model/);
    await cli.refused([...entropy, path()], /neither model\.safetensors nor/);
  });
});
