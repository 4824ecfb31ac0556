import assert from "node:assert/strict";
import {
  metaHashTableName,
  renameEntropyModelTensor,
  renameMetaTensor,
} from "../../../model-runtime/checkpoint/meta-layout";

const check = (rename: (name: string) => string, names: Record<string, string>) =>
  assert.deepEqual(Object.keys(names).map(rename), Object.values(names));

describe("Meta's names", () => {
  it("become Hugging Face's", () =>
    check(renameMetaTensor, {
      "local_encoder.tok_embeddings.weight": "model.local_encoder.embed_tokens.weight",
      "local_encoder.layers.0.attention.wq.weight": "model.local_encoder.layers.0.self_attn.q_proj.weight",
      "local_encoder.layers.0.attention_norm.weight": "model.local_encoder.layers.0.input_layernorm.weight",
      "local_encoder.patch_embedding_projection.weight": "model.local_encoder.patch_embedding_projection.weight",
      "local_encoder.cross_attn_layers.0.cross_attn_norm_q.weight":
        "model.local_encoder.cross_attn_layers.0.q_norm.weight",
      "local_encoder.cross_attn_layers.0.cross_attn_norm_kv.weight":
        "model.local_encoder.cross_attn_layers.0.k_norm.weight",
      "local_encoder.cross_attn_layers.0.wv.weight": "model.local_encoder.cross_attn_layers.0.v_proj.weight",
      "global_transformer.token_embedding_projection.weight":
        "model.global_transformer.token_embedding_projection.weight",
      "global_transformer.layers.7.attention.wo.weight": "model.global_transformer.layers.7.self_attn.o_proj.weight",
      "global_transformer.layers.7.feed_forward.w1.weight": "model.global_transformer.layers.7.mlp.gate_proj.weight",
      "global_transformer.layers.7.feed_forward.w2.weight": "model.global_transformer.layers.7.mlp.down_proj.weight",
      "global_transformer.layers.7.feed_forward.w3.weight": "model.global_transformer.layers.7.mlp.up_proj.weight",
      "global_transformer.layers.7.ffn_norm.weight":
        "model.global_transformer.layers.7.post_attention_layernorm.weight",
      "local_decoder.layers.2.attention.wk.weight": "model.local_decoder.layers.2.self_attn.k_proj.weight",
      "local_decoder.norm.weight": "model.local_decoder.norm.weight",
      "local_decoder.output.weight": "lm_head.weight",
      [metaHashTableName(3)]: "model.encoder_hash_tok_embedding.3.weight",
    }));

  it("of an entropy model get its prefix, in either layout", () =>
    check(renameEntropyModelTensor, {
      "tok_embeddings.weight": "model.patcher.embed_tokens.weight",
      "layers.13.feed_forward.w1.weight": "model.patcher.layers.13.mlp.gate_proj.weight",
      "norm.weight": "model.patcher.norm.weight",
      "output.weight": "model.patcher.lm_head.weight",
      "embed_tokens.weight": "model.patcher.embed_tokens.weight",
      "model.patcher.norm.weight": "model.patcher.norm.weight",
    }));
});
