/** Small checkpoints to spoil: the golden ones as lists of tensors, in both layouts, written without the code under test. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { UserError } from "../../../model-runtime/errors";

export interface FixtureTensor {
  dtype: string;
  shape: number[];
  bytes: Uint8Array;
}

export type FixtureTensors = Map<string, FixtureTensor>;
// biome-ignore lint/suspicious/noExplicitAny: tests reach into and spoil JSON of any form.
export type Json = any;

export const goldenFolder = (name: "k2" | "k4") => join(__dirname, "../../golden", name);

/** A folder for each test of the suite, removed afterwards. */
export function useTemporaryFolder(): (...names: string[]) => string {
  let folder = "";
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "blt-checkpoint-"));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));
  return (...names) => join(folder, ...names);
}

export function goldenConfig(name: "k2" | "k4"): Json {
  return JSON.parse(readFileSync(join(goldenFolder(name), "config.json"), "utf8"));
}

export function goldenTensors(name: "k2" | "k4"): FixtureTensors {
  const file = readFileSync(join(goldenFolder(name), "model.safetensors"));
  const length = Number(file.readBigUInt64LE());
  const header: Json = JSON.parse(file.toString("utf8", 8, 8 + length));
  delete header.__metadata__;
  return new Map(
    Object.entries(header as Record<string, Json>).map(
      ([
        tensor,
        {
          dtype,
          shape,
          data_offsets: [start, end],
        },
      ]) => [tensor, { dtype, shape, bytes: Uint8Array.from(file.subarray(8 + length + start, 8 + length + end)) }],
    ),
  );
}

/** A tensor of F32 values. */
export function floats(shape: number[], values: ArrayLike<number>): FixtureTensor {
  return { dtype: "F32", shape, bytes: new Uint8Array(Float32Array.from(values).buffer) };
}

/** Bytes of a safetensors file with this header, given as an object or as text. */
export function safetensors(header: Json, data: Uint8Array = new Uint8Array()): Buffer {
  const text = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, data]);
}

export function writeTensors(path: string, tensors: FixtureTensors): void {
  const header: Json = {};
  let offset = 0;
  for (const [name, { dtype, shape, bytes }] of tensors) {
    header[name] = { dtype, shape, data_offsets: [offset, (offset += bytes.length)] };
  }
  writeFileSync(path, safetensors(header, Buffer.concat([...tensors.values()].map(({ bytes }) => bytes))));
}

export function writeJson(path: string, json: Json): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, typeof json === "string" ? json : JSON.stringify(json));
}

export function writeCheckpointFolder(folder: string, config: Json, tensors: FixtureTensors): string {
  writeJson(join(folder, "config.json"), config);
  writeTensors(join(folder, "model.safetensors"), tensors);
  return folder;
}

/** The golden checkpoint with one tensor left out (null) or put in the place of another. */
export function goldenWith(name: "k2" | "k4", changes: Record<string, FixtureTensor | null>): FixtureTensors {
  const tensors = goldenTensors(name);
  for (const [tensor, change] of Object.entries(changes)) {
    if (change === null) tensors.delete(tensor);
    else tensors.set(tensor, change);
  }
  return tensors;
}

/** The golden checkpoint in Meta's layout: model and entropy model in folders of their own. */
export function writeMetaFolder(folder: string, name: "k2" | "k4"): string {
  const main: FixtureTensors = new Map();
  const entropy: FixtureTensors = new Map();
  for (const [tensor, value] of goldenTensors(name)) {
    const patcher = /^model\.patcher\.(.*)$/.exec(tensor);
    if (patcher !== null) entropy.set(metaName(patcher[1]), value);
    else if (tensor === "lm_head.weight") main.set("local_decoder.output.weight", value);
    else if (tensor !== "model.encoder_hash_tok_embedding.weight")
      main.set(metaName(tensor.slice("model.".length)), value);
  }
  const table = goldenTensors(name).get("model.encoder_hash_tok_embedding.weight")!;
  for (let slot = 0, size = table.bytes.length / 6; slot < 6; slot++) {
    const bytes = table.bytes.subarray(slot * size, (slot + 1) * size);
    main.set(`encoder_hash_tok_embedding.${slot}.weight`, { dtype: table.dtype, shape: [101, 16], bytes });
  }
  main.set("local_encoder.rope.freqs_cis", floats([2], [1, 0]));
  writeCheckpointFolder(folder, { args: metaArgs(name) }, main);
  writeJson(join(folder, "train_args.json"), {
    data: {
      patcher_args: { patching_mode: "entropy", threshold: goldenConfig(name).patching_threshold, threshold_add: null },
    },
  });
  const params = {
    dim: 16,
    n_layers: 2,
    n_heads: 2,
    multiple_of: 8,
    vocab_size: 260,
    rope_theta: 500000,
    sliding_window: 64,
  };
  writeJson(join(folder, "entropy_model/params.json"), {
    entropy_model: params,
    patcher_args: { patching_mode: "byte" },
  });
  writeTensors(join(folder, "entropy_model/model.safetensors"), entropy);
  return folder;
}

/** Model arguments under which Meta's code builds the golden model's sizes. */
export function metaArgs(name: "k2" | "k4"): Json {
  const config = goldenConfig(name);
  return {
    dim_global: config.global_config.hidden_size,
    dim_local_encoder: 16,
    dim_local_decoder: 16,
    dim_token_emb: 16,
    n_layers_global: 2,
    n_layers_local_encoder: 1,
    n_layers_local_decoder: 3,
    n_heads_global: 2,
    n_heads_local_encoder: 2,
    n_heads_local_decoder: 2,
    n_kv_heads_global: null,
    cross_attn_nheads: 2,
    cross_attn_k: config.cross_attn_k,
    cross_attn_encoder: true,
    cross_attn_decoder: true,
    cross_attn_all_layers_encoder: false,
    cross_attn_all_layers_decoder: true,
    cross_attn_window_encoder: null,
    downsampling_by_pooling: "max",
    local_attention_window_len: 512,
    encoder_hash_byte_group_size: [3, 4, 5, 6, 7, 8],
    encoder_hash_byte_group_vocab: 101,
    encoder_hash_byte_group_nb_functions: 1,
    multiple_of: 8,
    rope_theta: 500000,
    norm_eps: 1e-5,
    vocab_size: 260,
    patch_in_forward: false,
    patch_size: 4.5,
    patching_mode: "byte",
  };
}

/** Asserts that `run` is refused with a `UserError` of one line that matches every pattern. */
export async function checkRefused(run: () => unknown, ...patterns: RegExp[]): Promise<void> {
  await assert.rejects(
    async () => run(),
    (error: Error) => {
      assert.ok(error instanceof UserError, `${error.stack}`);
      assert.match(error.message, /^[^\n]+\.$/);
      for (const pattern of patterns) assert.match(error.message, pattern);
      return true;
    },
  );
}

/** Names in a folder, hidden ones included. */
export function namesIn(folder: string): string[] {
  return readdirSync(folder).sort();
}

const metaSegments: Record<string, string> = {
  embed_tokens: "tok_embeddings",
  self_attn: "attention",
  mlp: "feed_forward",
  input_layernorm: "attention_norm",
  post_attention_layernorm: "ffn_norm",
  q_norm: "cross_attn_norm_q",
  k_norm: "cross_attn_norm_kv",
  q_proj: "wq",
  k_proj: "wk",
  v_proj: "wv",
  o_proj: "wo",
  gate_proj: "w1",
  down_proj: "w2",
  up_proj: "w3",
  lm_head: "output",
};

function metaName(name: string): string {
  return name
    .split(".")
    .map((segment) => metaSegments[segment] ?? segment)
    .join(".");
}
