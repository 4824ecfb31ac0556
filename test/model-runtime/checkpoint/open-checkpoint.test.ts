import assert from "node:assert/strict";
import { mkdirSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { openCheckpoint } from "../../../model-runtime/checkpoint/open-checkpoint";
import { RowReader } from "../../../model-runtime/checkpoint/row-reader";
import { readWeight } from "../../../model-runtime/checkpoint/tensor-data";
import {
  checkRefused,
  type FixtureTensor,
  type FixtureTensors,
  floats,
  goldenConfig,
  goldenFolder,
  goldenTensors,
  goldenWith,
  type Json,
  useTemporaryFolder,
  writeCheckpointFolder,
  writeJson,
  writeMetaFolder,
  writeTensors,
} from "./fixture";

const hashTable = "model.encoder_hash_tok_embedding.weight";
const patcherTensors = Object.fromEntries(
  [...goldenTensors("k2").keys()].filter((name) => name.startsWith("model.patcher.")).map((name) => [name, null]),
);

/** Opened from `folder` in whatever layout, the checkpoint is the golden one. */
function checkEqualsGolden(folder: string, name: "k2" | "k4", options: Parameters<typeof openCheckpoint>[1] = {}) {
  const golden = openCheckpoint(goldenFolder(name));
  const opened = openCheckpoint(folder, options);
  assert.deepEqual(opened.config, golden.config);
  for (const tensor of golden.tensors.keys()) {
    if (tensor !== hashTable) assert.deepEqual(readWeight(opened, tensor), readWeight(golden, tensor), tensor);
  }
  assert.equal(opened.hashTables.length, golden.hashTables.length);
  opened.hashTables.forEach((table, slot) => {
    const rows = [table, golden.hashTables[slot]].map((location) => {
      const row = new Float32Array(16);
      new RowReader(location).readRow(100, row);
      return row;
    });
    assert.deepEqual(rows[0], rows[1]);
  });
}

describe("openCheckpoint", () => {
  const path = useTemporaryFolder();

  it("finds every tensor of the golden checkpoints", () => {
    for (const name of ["k2", "k4"] as const) {
      const checkpoint = openCheckpoint(goldenFolder(name));
      assert.deepEqual(new Set(checkpoint.tensors.keys()), new Set(goldenTensors(name).keys()));
      for (const [tensor, { bytes, shape, dtype }] of goldenTensors(name)) {
        const location = checkpoint.tensors.get(tensor)!;
        assert.deepEqual([location.shape, location.dtype, location.length], [shape, dtype, bytes.length]);
      }
      assert.deepEqual(
        checkpoint.hashTables.map(({ shape }) => shape),
        new Array(6).fill([101, 16]),
      );
    }
  });

  it("has the semantics asked for", () => {
    assert.equal(openCheckpoint(goldenFolder("k2")).config.encoder.window, 512);
    assert.equal(openCheckpoint(goldenFolder("k2"), { semantics: "hf" }).config.encoder.window, null);
  });

  it("reads Meta's layout, the entropy model from its own folder", () => {
    for (const name of ["k2", "k4"] as const) checkEqualsGolden(writeMetaFolder(path(name), name), name);
  });

  it("reads the entropy model from a folder that is named", () => {
    const meta = writeMetaFolder(path("meta"), "k2");
    renameSync(path("meta/entropy_model"), path("entropy"));
    checkEqualsGolden(meta, "k2", { entropyModel: path("entropy") });
    checkEqualsGolden(meta, "k2", { entropyModel: goldenFolder("k2") });
    const config = { ...goldenConfig("k2"), patch_in_forward: false };
    const without = writeCheckpointFolder(path("hf"), config, goldenWith("k2", patcherTensors));
    checkEqualsGolden(without, "k2", { entropyModel: path("entropy") });
  });

  it("takes a named entropy model instead of the checkpoint's own", () => {
    const other = goldenWith("k2", { "model.patcher.norm.weight": floats([16], new Array(16).fill(7)) });
    writeCheckpointFolder(path("other"), goldenConfig("k2"), other);
    const checkpoint = openCheckpoint(goldenFolder("k2"), { entropyModel: path("other") });
    assert.equal(readWeight(checkpoint, "model.patcher.norm.weight")[0], 7);
  });

  it("needs no entropy model for other modes", () => {
    const config = { ...goldenConfig("k2"), patching_mode: "space" };
    writeCheckpointFolder(path("hf"), config, goldenWith("k2", patcherTensors));
    assert.equal(openCheckpoint(path("hf")).config.patcher, null);
    writeMetaFolder(path("meta"), "k2");
    writeJson(path("meta/train_args.json"), { data: { patcher_args: { patching_mode: "static", patch_size: 4 } } });
    rmSync(path("meta/entropy_model/model.safetensors"));
    writeFileSync(path("meta/entropy_model/consolidated.pth"), "");
    assert.equal(openCheckpoint(path("meta")).config.patcher, null);
  });

  it("reads tied embeddings, of which a file holds one", () => {
    const config = { ...goldenConfig("k2"), tie_word_embeddings: true };
    const tied = goldenWith("k2", { "model.local_encoder.embed_tokens.weight": null });
    const checkpoint = openCheckpoint(writeCheckpointFolder(path(), config, tied));
    const [head, embedding] = ["lm_head.weight", "model.local_encoder.embed_tokens.weight"].map((name) =>
      readWeight(checkpoint, name),
    );
    assert.deepEqual(head, embedding);
  });

  it("ignores tensors that nothing asks for, of whatever type", () => {
    const extra = { dtype: "I64", shape: [2], bytes: new Uint8Array(16) };
    checkEqualsGolden(writeCheckpointFolder(path(), goldenConfig("k2"), goldenWith("k2", { positions: extra })), "k2");
  });

  it("follows links to the file itself, as a download cache makes them", () => {
    mkdirSync(path("blobs"));
    writeCheckpointFolder(path("blobs"), goldenConfig("k2"), goldenTensors("k2"));
    renameSync(path("blobs/model.safetensors"), path("blobs/0123abcd"));
    writeJson(path("snapshot/config.json"), goldenConfig("k2"));
    symlinkSync("../blobs/0123abcd", path("snapshot/model.safetensors"));
    checkEqualsGolden(path("snapshot"), "k2");
    const location = openCheckpoint(path("snapshot")).tensors.get("lm_head.weight")!;
    assert.equal(location.file, "0123abcd");
  });

  describe("in shards", () => {
    function writeShards(change: (map: Json) => void = () => undefined) {
      const shards: FixtureTensors[] = [new Map(), new Map(), new Map()];
      const map: Json = {};
      [...goldenTensors("k2")].forEach(([name, tensor], i) => {
        shards[i % 3].set(name, tensor);
        map[name] = `model-0000${(i % 3) + 1}-of-00003.safetensors`;
      });
      change(map);
      shards.forEach((tensors, i) => {
        writeTensors(path(`model-0000${i + 1}-of-00003.safetensors`), tensors);
      });
      writeJson(path("config.json"), goldenConfig("k2"));
      writeJson(path("model.safetensors.index.json"), { metadata: { total_size: 1 }, weight_map: map });
    }
    const open = () => openCheckpoint(path());

    it("opens", () => {
      writeShards();
      checkEqualsGolden(path(), "k2");
    });
    it("refuses a shard that is missing", () => {
      writeShards();
      rmSync(path("model-00002-of-00003.safetensors"));
      return checkRefused(open, /model-00002-of-00003\.safetensors/, /missing/);
    });
    it("refuses an index that is wrong about a shard", () => {
      writeShards((map) => {
        map["lm_head.weight"] = "model-00002-of-00003.safetensors";
      });
      return checkRefused(open, /Tensor lm_head\.weight is not in model-00002/);
    });
    for (const file of [
      "../other.safetensors",
      "/etc/a.safetensors",
      "a\\b.safetensors",
      "C:a.safetensors",
      "config.json",
      "..",
      3,
    ]) {
      it(`refuses ${file} for a shard`, () => {
        writeShards((map) => {
          map["lm_head.weight"] = file;
        });
        return checkRefused(open, /puts tensor lm_head\.weight in/, /same folder/);
      });
    }
    it("refuses an index without its map", () => {
      writeShards();
      writeJson(path("model.safetensors.index.json"), {});
      return checkRefused(open, /"weight_map" is missing/);
    });
  });

  describe("refuses", () => {
    function check(what: string, arrange: () => void, ...patterns: RegExp[]) {
      it(what, () => {
        writeCheckpointFolder(path("c"), goldenConfig("k2"), goldenTensors("k2"));
        arrange();
        return checkRefused(() => openCheckpoint(path("c")), ...patterns);
      });
    }
    const put = (changes: Record<string, FixtureTensor | null>) =>
      writeTensors(path("c/model.safetensors"), goldenWith("k2", changes));
    const configure = (changes: Json) => writeJson(path("c/config.json"), { ...goldenConfig("k2"), ...changes });

    check("a folder that is missing", () => rmSync(path("c"), { recursive: true }), /no folder .*c;/);
    check(
      "a file for a folder",
      () => {
        rmSync(path("c"), { recursive: true });
        writeFileSync(path("c"), "");
      },
      /is a file; name the folder/,
    );
    check("a folder without config.json", () => rmSync(path("c/config.json")), /no config\.json in .*c;/);
    check(
      "a config.json that is not JSON",
      () => writeJson(path("c/config.json"), "{"),
      /config\.json is not valid JSON/,
    );
    check(
      "a config.json with NaN",
      () => writeJson(path("c/config.json"), '{"patching_threshold": NaN}'),
      /"patching_threshold".*NaN/,
    );
    check("a folder without weights", () => rmSync(path("c/model.safetensors")), /neither model\.safetensors nor/);
    check(
      "weights pickled by torch",
      () => renameSync(path("c/model.safetensors"), path("c/pytorch_model.bin")),
      /torch's pytorch_model\.bin/,
      /save_file/,
    );
    check("a truncated file", () => truncateSync(path("c/model.safetensors"), 100_000), /the file has 100000 bytes/);
    check(
      "a missing tensor",
      () => put({ "model.local_decoder.norm.weight": null }),
      /model\.local_decoder\.norm\.weight of shape \[16\] is missing/,
    );
    check(
      "a missing tensor of the entropy model",
      () => put({ "model.patcher.norm.weight": null }),
      /model\.patcher\.norm\.weight/,
    );
    check(
      "a misshapen tensor",
      () => put({ "lm_head.weight": floats([16, 260], new Float32Array(4160)) }),
      /lm_head\.weight in .*model\.safetensors has shape \[16,260\]/,
      /implies \[260,16\]/,
    );
    check(
      "a tensor of a type that is not computed with",
      () => put({ "model.local_decoder.norm.weight": { dtype: "F64", shape: [16], bytes: new Uint8Array(128) } }),
      /model\.local_decoder\.norm\.weight .* type F64/,
    );
    check(
      "a config that contradicts the tensors",
      () => configure({ encoder_hash_byte_group_vocab: 100 }),
      /encoder_hash_tok_embedding\.weight .*\[606,16\].*\[600,16\]/,
    );
    check(
      "entropy patching without an entropy model",
      () => put(patcherTensors),
      /holds no entropy model/,
      /"patching_mode"/,
    );
    check(
      "int8 weights without quantization_config",
      () => {
        put({ "lm_head.weight": { dtype: "I8", shape: [260, 16], bytes: new Uint8Array(4160) } });
      },
      /lm_head\.weight .*int8.*"quantization_config"/,
    );
    check(
      "int8 weights without scales",
      () => {
        configure({ quantization_config: { quant_method: "blt-int8" } });
        put({ "lm_head.weight": { dtype: "I8", shape: [260, 16], bytes: new Uint8Array(4160) } });
      },
      /lm_head\.weight_scale of shape \[260\] is missing/,
    );
    check(
      "scales that are not F32",
      () => {
        configure({ quantization_config: { quant_method: "blt-int8" } });
        const weight = { dtype: "I8", shape: [260, 16], bytes: new Uint8Array(4160) };
        put({
          "lm_head.weight": weight,
          "lm_head.weight_scale": { dtype: "F16", shape: [260], bytes: new Uint8Array(520) },
        });
      },
      /lm_head\.weight_scale .* F16, but must be F32/,
    );

    const blocks = (form: Record<string, unknown>, dtype: string) => {
      configure({ quantization_config: { quant_method: "blt-blocks", ...form } });
      const name = "model.global_transformer.layers.0.self_attn.q_proj.weight";
      put({
        [name]: { dtype: "U8", shape: [32, 1, 16], bytes: new Uint8Array(512) },
        [`${name}_scale`]: { dtype, shape: [32, 1], bytes: new Uint8Array(dtype === "F16" ? 64 : 128) },
      });
    };
    check(
      "blocks without the minima that config.json states",
      () => blocks({}, "F16"),
      /q_proj\.weight_min .* missing/,
    );
    check(
      "scales of blocks that are not F16",
      () => blocks({ minima: false }, "F32"),
      /q_proj\.weight_scale .* F32, but must be F16/,
    );
    check(
      "blocks where config.json states int8 rows",
      () => {
        blocks({ minima: false }, "F16");
        configure({ quantization_config: { quant_method: "blt-int8" } });
      },
      /q_proj\.weight in .* shape \[32,1,16\], but config\.json implies \[32,32\]/,
    );

    check(
      "a link to nothing",
      () => {
        rmSync(path("c/model.safetensors"));
        symlinkSync("gone", path("c/model.safetensors"));
      },
      /model\.safetensors is no file, or a link to nothing/,
    );
    it("a folder inside a file", () => {
      writeFileSync(path("file"), "");
      return checkRefused(() => openCheckpoint(path("file/c")), /no folder .*c;/);
    });

    it("an entropy model that only torch can read, and says how to convert it", () => {
      writeMetaFolder(path("meta"), "k2");
      renameSync(path("meta/entropy_model/model.safetensors"), path("meta/entropy_model/consolidated.pth"));
      return checkRefused(() => openCheckpoint(path("meta")), /entropy_model/, /torch\.load\('consolidated\.pth'/);
    });
    it("a checkpoint in Meta's layout without its entropy model", () => {
      writeMetaFolder(path("meta"), "k2");
      rmSync(path("meta/entropy_model"), { recursive: true });
      return checkRefused(() => openCheckpoint(path("meta")), /holds no entropy model/);
    });
    it("a named entropy model with a tensor missing, though the checkpoint's own has it", () => {
      writeCheckpointFolder(path("other"), goldenConfig("k2"), goldenWith("k2", { "model.patcher.norm.weight": null }));
      const open = () => openCheckpoint(goldenFolder("k2"), { entropyModel: path("other") });
      return checkRefused(open, /model\.patcher\.norm\.weight .*missing/);
    });
    it("a named entropy model that is not there", () => {
      const open = () => openCheckpoint(goldenFolder("k2"), { entropyModel: path("none") });
      return checkRefused(open, /no folder .*none; name the folder of the entropy model/);
    });
  });
});
