import assert from "node:assert/strict";
import type { BltConfig } from "../../../model-runtime/checkpoint/config";
import { parseJson } from "../../../model-runtime/checkpoint/json-fields";
import {
  type ParseOptions,
  parseConfig,
  parseEntropyModelConfig,
} from "../../../model-runtime/checkpoint/parse-config";
import { checkRefused, goldenConfig, type Json, metaArgs } from "./fixture";

/** The golden config with keys set; a dotted path reaches into a sub-config. */
function withKeys(changes: Record<string, unknown>, base: Json = goldenConfig("k2")): Json {
  for (const [path, value] of Object.entries(changes)) {
    const names = path.split(".");
    const last = names.pop()!;
    names.reduce((object, name) => (object[name] ??= {}), base)[last] = value;
  }
  return base;
}

function parse(json: Json, options: Partial<ParseOptions> = {}): BltConfig {
  return parseConfig(json, { where: "config.json", ...options });
}

function valueAt(config: BltConfig, path: string): unknown {
  return path.split(".").reduce((object: Json, name) => object[name], config);
}

/** Setting `changes` in the file gives `expected` in the configuration. */
function check(
  changes: Record<string, unknown>,
  expected: Record<string, unknown>,
  options: Partial<ParseOptions> = {},
) {
  const config = parse(withKeys(changes), options);
  for (const [path, value] of Object.entries(expected)) assert.deepEqual(valueAt(config, path), value, path);
}

describe("parseConfig, Hugging Face layout", () => {
  it("fills in the sizes of blt-1b where the file is silent", () => {
    const config = parse({ model_type: "blt" });
    assert.deepEqual(config.patcher, {
      hiddenSize: 768,
      layers: 14,
      heads: 12,
      kvHeads: 12,
      headDim: 64,
      intermediateSize: 2048,
      ropeTheta: 10000,
      normEps: 1e-5,
      window: 512,
    });
    assert.deepEqual(config.hash, { groupSizes: [3, 4, 5, 6, 7, 8], vocab: 500002, functions: 1 });
    assert.equal(config.patching.threshold, 1.335442066192627);
    assert.deepEqual([config.encoder.layers, config.decoder.layers, config.latent.layers], [1, 9, 25]);
    assert.deepEqual([config.encoder.crossAttentionAllLayers, config.decoder.crossAttentionAllLayers], [false, true]);
    // transformers 5.18.0: int(8 h / 3) in the encoder only (blt-spec section 19, 10).
    assert.deepEqual([config.encoder.intermediateSize, config.decoder.intermediateSize], [2730, 2816]);
  });

  it("settles a feed-forward width that is left out by the weights", () => {
    const shapes = new Map([["model.local_encoder.layers.0.mlp.gate_proj.weight", [2816, 1024]]]);
    assert.equal(parse({ model_type: "blt" }, { shapes }).encoder.intermediateSize, 2816);
    assert.equal(parse({ encoder_config: { intermediate_size: 2730 } }, { shapes }).encoder.intermediateSize, 2730);
  });

  it("reads grouped-query heads, in the cross-attention too", () => {
    check(
      {
        "decoder_config.num_attention_heads": 4,
        "decoder_config.num_key_value_heads": 2,
        "global_config.num_key_value_heads": 1,
      },
      {
        "decoder.kvHeads": 2,
        "decoder.crossAttentionKvHeads": 2,
        "decoder.crossAttentionHeads": 4,
        "latent.kvHeads": 1,
      },
    );
    check({ "encoder_config.num_key_value_heads": null }, { "encoder.kvHeads": 2 });
  });

  it("reads Meta's own number of cross-attention heads", () => {
    check(
      { cross_attn_nheads: 4 },
      { "encoder.crossAttentionHeads": 4, "encoder.crossAttentionKvHeads": 4, "encoder.heads": 2 },
    );
    check(
      { "decoder_config.cross_attn_nheads": 8 },
      { "decoder.crossAttentionHeads": 8, "encoder.crossAttentionHeads": 2 },
    );
  });

  it("reads either spelling of the norm's epsilon and of the rotary base", () => {
    check({ "global_config.rms_norm_eps": undefined, "global_config.norm_eps": 1e-6 }, { "latent.normEps": 1e-6 });
    check(
      { "global_config.rope_parameters": undefined, "global_config.rope_theta": 7000 },
      { "latent.ropeTheta": 7000 },
    );
    const legacy = {
      "global_config.rope_parameters": undefined,
      "global_config.rope_scaling": { rope_type: "default" },
    };
    check(legacy, { "latent.ropeTheta": 500000 });
    check(
      { "global_config.rope_theta": 7000, "global_config.rope_parameters.rope_theta": 9000 },
      { "latent.ropeTheta": 9000 },
    );
  });

  it("has windows of 512 unless the file says otherwise", () => {
    check({}, { "patcher.window": 512, "encoder.window": 512, "decoder.window": 512, "latent.window": null });
    check({ "patcher_config.sliding_window": 64 }, { "patcher.window": 64, "encoder.window": 512 });
    check({ local_attention_window_len: 256 }, { "patcher.window": 512, "encoder.window": 256, "decoder.window": 256 });
    check({ "encoder_config.local_attention_window_len": 128 }, { "encoder.window": 128, "decoder.window": 512 });
    check({ "decoder_config.sliding_window": 32 }, { "decoder.window": 32, "encoder.window": 512 });
    check(
      { "decoder_config.sliding_window": null, "patcher_config.sliding_window": null },
      { "decoder.window": null, "patcher.window": null },
    );
  });

  it("reads the patching settings that transformers ignores", () => {
    const keys = {
      monotonicity: true,
      patching_threshold_add: 0.5,
      max_patch_length: 12,
      newline_reset: true,
      min_patch_length: 2,
    };
    const read = { monotonic: true, thresholdAdd: 0.5, maxPatchLength: 12, newlineReset: true, minPatchLength: 2 };
    check(
      { ...keys, realtime_patching: true, patching_device: "cuda", pm_size: 0 },
      {
        patching: { mode: "entropy", threshold: 1.2182, patchSize: 4, ...read },
      },
    );
    check({ patching_mode: "static", patch_size: 6 }, { "patching.mode": "static", "patching.patchSize": 6 });
    check({ patch_size: 4.5 }, { "patching.patchSize": 4 });
    check({ cross_attn_window_decoder: 3 }, { crossAttentionWindow: { encoder: 1, decoder: 3 } });
    check({ quantization_config: { quant_method: "blt-int8" } }, { quantization: "blt-int8" });
    check({ quantization_config: { quant_method: "blt-blocks" } }, { quantization: "blt-blocks" });
    check(
      { quantization_config: { quant_method: "blt-blocks", minima: false } },
      { quantization: "blt-blocks-symmetric" },
    );
    check({ encoder_hash_byte_group_nb_functions: 0 }, { hash: { groupSizes: [], vocab: 101, functions: 0 } });
  });

  it("computes as transformers does with hf semantics", () => {
    const hf = { semantics: "hf" } as const;
    check(
      { "patcher_config.sliding_window": 64 },
      { semantics: "hf", "patcher.window": null, "encoder.window": null, "decoder.window": null },
      hf,
    );
    check(
      { monotonicity: true, patching_threshold_add: 1 },
      { "patching.monotonic": false, "patching.thresholdAdd": null },
      hf,
    );
    check({ patching_mode: "space" }, { "patching.mode": "byte" }, hf);
    check({ patch_in_forward: false }, { "patching.mode": "byte", patcher: null }, hf);
    check({}, { semantics: "meta" });
  });

  const refused: [string, Record<string, unknown>, RegExp][] = [
    [
      "an unknown patching mode",
      { patching_mode: "cumulative" },
      /"patching_mode".*"cumulative".*entropy, space, static, byte, bpe/,
    ],
    ["a NaN threshold", { patching_threshold: Number.NaN }, /"patching_threshold".*NaN/],
    ["a negative threshold", { patching_threshold: -1 }, /"patching_threshold".*-1.*at least 0/],
    ["a threshold that is no number", { patching_threshold: "1.3" }, /"patching_threshold".*"1.3"/],
    [
      "hidden size and heads that do not fit",
      { "encoder_config.num_attention_heads": 3 },
      /hidden size 16.*local encoder.*3 attention heads/,
    ],
    [
      "heads and key/value heads that do not fit",
      { "global_config.num_key_value_heads": 3 },
      /2 attention heads.*latent transformer.*3 key\/value/,
    ],
    ["a head of odd width", { "patcher_config.num_attention_heads": 16 }, /patcher's heads have 1 channels/],
    [
      "a head_dim that is not hidden size / heads",
      { "decoder_config.head_dim": 4 },
      /"head_dim".*decoder_config.*4.*8/,
    ],
    ["cross_attn_k that disagrees", { "decoder_config.cross_attn_k": 4 }, /"cross_attn_k".*decoder_config.*4.*2/],
    ["vocabularies that disagree", { "patcher_config.vocab_size": 300 }, /"vocab_size".*patcher_config.*300.*260/],
    [
      "a vocabulary that is not that of bytes",
      {
        vocab_size: 256,
        "patcher_config.vocab_size": 256,
        "encoder_config.vocab_size": 256,
        "decoder_config.vocab_size": 256,
      },
      /256 ids.*260/,
    ],
    [
      "a latent width the decoder does not expect",
      { "decoder_config.hidden_size_global": 64 },
      /"hidden_size_global".*64.*32/,
    ],
    ["local networks of different width", { "decoder_config.hidden_size": 32 }, /16 channels, but has 32/],
    ["a fraction of a layer", { "global_config.num_hidden_layers": 2.5 }, /"num_hidden_layers".*2.5.*whole number/],
    ["layers without end", { "global_config.num_hidden_layers": 1e9 }, /"num_hidden_layers".*1 to 1000/],
    ["no layers", { "encoder_config.num_hidden_layers": 0 }, /"num_hidden_layers".*encoder_config/],
    ["a stride of zero", { patching_mode: "static", patch_size: 0 }, /"patch_size".*0/],
    ["a broken stride", { patching_mode: "static", patch_size: 4.5 }, /"patch_size".*4.5.*whole number/],
    ["a longest patch of zero", { max_patch_length: 0 }, /"max_patch_length".*0/],
    [
      "a shortest patch above the longest",
      { max_patch_length: 4, min_patch_length: 5 },
      /min_patch_length 5.*max_patch_length 4/,
    ],
    ["a window of zero", { "patcher_config.sliding_window": 0 }, /"sliding_window".*patcher_config.*0/],
    ["another activation", { "global_config.hidden_act": "gelu" }, /"hidden_act".*"gelu".*silu/],
    ["scaled rotary embeddings", { "global_config.rope_parameters": { rope_type: "yarn" } }, /"rope_type".*"yarn"/],
    ["a hash table that is too long", { encoder_hash_byte_group_vocab: 2 ** 27 }, /"encoder_hash_byte_group_vocab"/],
    ["n-gram lengths that are no list", { encoder_hash_byte_group_size: 3 }, /"encoder_hash_byte_group_size".*list/],
    ["an unknown quantisation", { quantization_config: { quant_method: "gptq" } }, /"quant_method".*"gptq".*blt-int8/],
    ["another model", { model_type: "llama" }, /"llama"/],
    ["a sub-config that is a list", { encoder_config: [] }, /encoder_config of config.json must be a JSON object/],
    ["a flag that is a number", { monotonicity: 1 }, /"monotonicity".*true or false/],
  ];
  for (const [what, changes, pattern] of refused) {
    it(`refuses ${what}`, () => checkRefused(() => parse(withKeys(changes)), /config\.json/, pattern));
  }
  it("refuses a file that is no object", () => checkRefused(() => parse([1]), /must be a JSON object, not \[1\]/));
});

describe("parseConfig, Meta's layout", () => {
  const trainArgs = {
    data: { patcher_args: { patching_mode: "entropy", threshold: 1.5, monotonicity: true, patch_size: 4.5 } },
  };

  it("gives the golden model's configuration from the arguments that build it", () => {
    for (const name of ["k2", "k4"] as const) {
      const patching = { data: { patcher_args: { threshold: goldenConfig(name).patching_threshold } } };
      const expected = { ...parse(goldenConfig(name)), patcher: null };
      assert.deepEqual(parse({ args: metaArgs(name) }, { trainArgs: patching }), expected);
    }
  });

  it("takes the patching settings of train_args.json before those of the model arguments", () => {
    const patching = parse({ args: { ...metaArgs("k2"), patching_mode: "space" } }, { trainArgs }).patching;
    assert.deepEqual([patching.mode, patching.threshold, patching.monotonic], ["entropy", 1.5, true]);
    assert.equal(parse({ args: { ...metaArgs("k2"), patching_mode: "space" } }).patching.mode, "space");
  });

  it("rounds the feed-forward width as Meta does", () => {
    const widths: [number, number][] = [
      [1024, 2816],
      [1280, 3584],
      [2048, 5632],
      [4096, 11008],
    ];
    for (const [dim_global, width] of widths) {
      const args = { ...metaArgs("k2"), multiple_of: undefined, dim_global, n_heads_global: 16 };
      assert.equal(parse({ args }).latent.intermediateSize, width);
    }
  });

  it("reads the entropy model's own parameters", () => {
    const released = {
      dim: 768,
      n_layers: 14,
      n_heads: 12,
      vocab_size: 260,
      rope_theta: 500000,
      ffn_dim_multiplier: 1.0,
    };
    const options = { where: "params.json" };
    const expected = parse({ model_type: "blt" }).patcher;
    assert.deepEqual(parseEntropyModelConfig({ entropy_model: released }, options), expected);
    const args = { ...released, rope_theta: 10000, sliding_window: 512 };
    assert.deepEqual(parseEntropyModelConfig({ args }, options), expected);
    assert.deepEqual(parseEntropyModelConfig({ patcher_config: {} }, options), expected);
    assert.deepEqual(parseEntropyModelConfig({ args: { ...args, sliding_window: 64 } }, options).window, 64);
    assert.deepEqual(parseEntropyModelConfig({ args }, { ...options, semantics: "hf" }).window, null);
  });

  const refused: [string, Json, RegExp][] = [
    ["a missing size", { dim_local_encoder: undefined }, /"dim_local_encoder" is missing in args of config.json/],
    ["pooling other than max", { downsampling_by_pooling: "avg" }, /"downsampling_by_pooling".*"avg".*"max"/],
    ["a decoder without cross-attention", { cross_attn_decoder: false }, /"cross_attn_decoder".*false/],
    ["n-gram counts", { encoder_enable_byte_ngrams: true }, /"encoder_enable_byte_ngrams"/],
    ["a token width of its own", { dim_token_emb: 8 }, /"dim_token_emb".*8.*16/],
    ["heads that do not fit", { n_heads_global: 5 }, /32.*5/],
  ];
  for (const [what, changes, pattern] of refused) {
    it(`refuses ${what}`, () =>
      checkRefused(() => parse({ args: { ...metaArgs("k2"), ...changes } }), /config\.json/, pattern));
  }
  it("refuses an entropy model of another vocabulary", () => {
    const json = { entropy_model: { dim: 16, n_layers: 1, n_heads: 2, vocab_size: 300 } };
    return checkRefused(
      () => parseEntropyModelConfig(json, { where: "params.json" }),
      /"vocab_size".*params.json.*300/,
    );
  });
});

describe("parseJson", () => {
  it("names the key that Python wrote as NaN", () =>
    checkRefused(
      () => parseJson('{"patching_threshold": NaN}', "config.json"),
      /"patching_threshold" in config.json is NaN/,
    ));
  it("says that text is not JSON", () =>
    checkRefused(() => parseJson("{", "config.json"), /config.json is not valid JSON/));
});
