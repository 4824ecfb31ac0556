import assert from "node:assert/strict";
import { expectedTensors } from "../../../model-runtime/checkpoint/expected-tensors";
import { parseConfig } from "../../../model-runtime/checkpoint/parse-config";
import { goldenConfig, goldenTensors, type Json } from "./fixture";

function check(json: Json, tensors: number, parameters: number) {
  const shapes = [...expectedTensors(parseConfig(json, { where: "config.json" })).values()];
  const sizes = shapes.map((shape) => shape.reduce((product, size) => product * size, 1));
  assert.equal(shapes.length, tensors);
  assert.equal(
    sizes.reduce((sum, size) => sum + size, 0),
    parameters,
  );
}

describe("expectedTensors", () => {
  it("counts the tensors and parameters of the released models (blt-spec section 10.2)", () => {
    const local = { hidden_size: 1280, intermediate_size: 3584, num_attention_heads: 20, cross_attn_k: 4 };
    check({ encoder_config: { intermediate_size: 2816 } }, 510, 4_633_391_872);
    check({ encoder_config: { intermediate_size: 2816 }, patch_in_forward: false }, 510 - 129, 4_533_879_808);
    check(
      {
        cross_attn_k: 4,
        encoder_config: local,
        decoder_config: { ...local, num_hidden_layers: 6 },
        global_config: { hidden_size: 4096, intermediate_size: 11008, num_attention_heads: 32, num_hidden_layers: 32 },
      },
      529,
      10_653_082_624,
    );
  });

  it("names exactly what the golden files hold", () => {
    for (const name of ["k2", "k4"] as const) {
      const expected = expectedTensors(parseConfig(goldenConfig(name), { where: "config.json" }));
      const stored = [...goldenTensors(name)].map(([tensor, { shape }]) => [tensor, shape]);
      assert.deepEqual(new Map(expected), new Map(stored as [string, number[]][]));
    }
  });

  it("makes key and value projections as wide as their heads", () => {
    const json = goldenConfig("k2");
    Object.assign(json.decoder_config, {
      num_attention_heads: 4,
      num_key_value_heads: 1,
      cross_attn_all_layers: false,
    });
    const expected = expectedTensors(parseConfig(json, { where: "config.json" }));
    assert.deepEqual(expected.get("model.local_decoder.layers.2.self_attn.k_proj.weight"), [4, 16]);
    assert.deepEqual(expected.get("model.local_decoder.cross_attn_layers.0.v_proj.weight"), [4, 16]);
    assert.deepEqual(expected.get("model.local_decoder.cross_attn_layers.0.o_proj.weight"), [16, 16]);
    assert.ok(!expected.has("model.local_decoder.cross_attn_layers.1.q_proj.weight"));
  });
});
