/** Names of Meta's checkpoints in the Hugging Face layout (blt-spec section 10.3). */
import { patcherPrefix } from "./expected-tensors";

/** One segment of a dotted name and what it is called in the other layout. */
const segments: Readonly<Record<string, string>> = {
  tok_embeddings: "embed_tokens",
  attention: "self_attn",
  feed_forward: "mlp",
  attention_norm: "input_layernorm",
  ffn_norm: "post_attention_layernorm",
  cross_attn_norm_q: "q_norm",
  cross_attn_norm_kv: "k_norm",
  wq: "q_proj",
  wk: "k_proj",
  wv: "v_proj",
  wo: "o_proj",
  w1: "gate_proj",
  w2: "down_proj",
  w3: "up_proj",
  output: "lm_head",
};

/** Hugging Face name of a tensor of a BLT checkpoint in Meta's layout; hash tables keep their slot (`metaHashTableName`). */
export function renameMetaTensor(name: string): string {
  const renamed = renameSegments(name);
  return renamed === "local_decoder.lm_head.weight" ? "lm_head.weight" : `model.${renamed}`;
}

/** Hugging Face name of a tensor of an entropy model that has a folder of its own, in either layout. */
export function renameEntropyModelTensor(name: string): string {
  return name.startsWith(patcherPrefix) ? name : patcherPrefix + renameSegments(name);
}

/** Name of one hash table in Meta's layout, which keeps each slot in a tensor of its own. */
export function metaHashTableName(slot: number): string {
  return `encoder_hash_tok_embedding.${slot}.weight`;
}

function renameSegments(name: string): string {
  return name
    .split(".")
    .map((segment) => (Object.hasOwn(segments, segment) ? segments[segment] : segment))
    .join(".");
}
