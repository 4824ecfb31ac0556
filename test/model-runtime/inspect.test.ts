import assert from "node:assert/strict";
import type { Checkpoint } from "../../model-runtime/checkpoint/checkpoint";
import { openCheckpoint } from "../../model-runtime/checkpoint/open-checkpoint";
import { parseConfig } from "../../model-runtime/checkpoint/parse-config";
import { BOS } from "../../model-runtime/ids";
import { type Inspection, inspectCheckpoint } from "../../model-runtime/inspect";
import { goldenDirectory, loadGolden } from "../helpers/golden";
import { useTemporaryFolder, writeMetaFolder } from "./checkpoint/fixture";

/** The released sizes (blt-spec section 9.1), without files. */
function released(size: "1b" | "7b", local: number, heads: number, decoderLayers: number, latent: object, k: number) {
  const width = { hidden_size: local, num_attention_heads: heads, intermediate_size: size === "1b" ? 2816 : 3584 };
  const config = parseConfig(
    {
      model_type: "blt",
      cross_attn_k: k,
      patching_threshold: 1.335442066192627,
      encoder_hash_byte_group_vocab: 500002,
      patcher_config: { hidden_size: 768, num_hidden_layers: 14, num_attention_heads: 12, intermediate_size: 2048 },
      encoder_config: { ...width, num_hidden_layers: 1, cross_attn_all_layers: false },
      decoder_config: { ...width, num_hidden_layers: decoderLayers, cross_attn_all_layers: true },
      global_config: latent,
    },
    { where: "config.json" },
  );
  return { directory: size, config, tensors: new Map(), hashTables: [] } as Checkpoint;
}

const latent1b = { hidden_size: 2048, num_hidden_layers: 25, num_attention_heads: 16, intermediate_size: 5632 };
const latent7b = { hidden_size: 4096, num_hidden_layers: 32, num_attention_heads: 32, intermediate_size: 11008 };

describe("inspectCheckpoint", () => {
  const path = useTemporaryFolder();

  /** MAC in millions (blt-spec section 10.4). */
  function check(checkpoint: Checkpoint, parameters: Inspection["parameters"], byteMacs: number, patchMacs: number) {
    const { flops, ...rest } = inspectCheckpoint(checkpoint, 4);
    assert.deepEqual(rest.parameters, parameters);
    assert.equal(Math.round(flops.perByte / 2e6), byteMacs);
    assert.equal(Math.round(flops.perPatch / 2e6), patchMacs);
    assert.equal(flops.perByteInAll, flops.perByte + flops.perPatch / 4);
  }

  it("counts what is known of blt-1b", () => {
    const parameters = {
      patcher: 99_512_064,
      hashEmbedding: 3_072_012_288,
      localEncoder: 19_406_848,
      latentTransformer: 1_284_608_000,
      localDecoder: 157_586_432,
      head: 266_240,
      total: 4_633_391_872,
    };
    check(released("1b", 1024, 16, 9, latent1b, 2), parameters, 249, 1333);
  });

  it("counts what is known of blt-7b", () => {
    const parameters = {
      patcher: 99_512_064,
      hashEmbedding: 3_840_015_360,
      localEncoder: 33_761_280,
      latentTransformer: 6_497_239_040,
      localDecoder: 182_222_080,
      head: 332_800,
      total: 10_653_082_624,
    };
    check(released("7b", 1280, 20, 6, latent7b, 4), parameters, 265, 6616);
  });

  it("adds up the bytes of either layout", () => {
    const bytes = { F32: 310_016, total: 310_016 };
    assert.deepEqual(inspectCheckpoint(openCheckpoint(goldenDirectory("k2")), 4).weightBytes, bytes);
    assert.deepEqual(inspectCheckpoint(openCheckpoint(writeMetaFolder(path("meta"), "k2")), 4).weightBytes, bytes);
  });

  it("foresees the memory of a text", async () => {
    const model = await loadGolden("k2");
    const sequence = model.createSequence({ ...model.config.patching, mode: "static", patchSize: 4 });
    await sequence.append([BOS, ...new Array(4095).fill(100)]);
    const { atStart, perByte, perPatch } = inspectCheckpoint(model.checkpoint, 4).textMemory;
    await model.release();
    const foreseen = atStart + 4096 * perByte + 1024 * perPatch;
    // Arrays grow ahead of need, and in steps.
    assert.ok(sequence.byteLength > 0.6 * foreseen && sequence.byteLength < 1.7 * foreseen);
  });
});
