"""A GGUF of a tiny Llama becomes a checkpoint that the reference reads back."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_lexicon import tiny_pieces
from latent_reference import load_latent
from pieces import byte_symbols, load_lexicon

gguf = pytest.importorskip("gguf", reason="conversion needs the gguf package, which only the person who converts has")
from convert_smollm2 import convert  # noqa: E402

TYPES = gguf.GGMLQuantizationType


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    pieces, merges = tiny_pieces()
    symbols = byte_symbols()
    spelt = ["<|endoftext|>", "<|im_start|>", *("".join(symbols[byte] for byte in piece) for piece in pieces[2:])]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(128)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(96)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_rope_dimension_count(32)
    writer.add_rope_freq_base(1e5)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(spelt))
    writer.add_token_list(spelt)
    writer.add_token_types([3, 3, *[1] * (len(spelt) - 2)])
    writer.add_token_merges([f"{spelt[left]} {spelt[right]}" for left, right in merges])
    generator = np.random.default_rng(1)
    shapes = {"attn_q": (64, 64), "attn_k": (32, 64), "attn_v": (32, 64), "attn_output": (64, 64)}
    shapes |= {"ffn_gate": (96, 64), "ffn_up": (96, 64), "ffn_down": (64, 96)}
    for name, shape in shapes.items():
        add(writer, f"blk.0.{name}.weight", generator.normal(size=shape), TYPES.Q4_1)
    add(writer, "token_embd.weight", generator.normal(size=(len(spelt), 64)), TYPES.Q8_0)
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        add(writer, f"{name}.weight", generator.normal(size=64), TYPES.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add(writer: "gguf.GGUFWriter", name: str, values: np.ndarray, kind: "gguf.GGMLQuantizationType") -> None:
    writer.add_tensor(name, gguf.quants.quantize(values.astype(np.float32), kind), raw_dtype=kind)


def test_converted_weights_are_the_sources(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path)
    latent, lexicon = load_latent(tmp_path), load_lexicon(tmp_path)
    values = {}
    for tensor in gguf.GGUFReader(source).tensors:
        values[tensor.name] = torch.tensor(np.array(gguf.quants.dequantize(tensor.data, tensor.tensor_type)))
    names = {"attn_q": "self_attn.q_proj", "attn_output": "self_attn.o_proj", "ffn_down": "mlp.down_proj"}
    for theirs, ours in names.items():
        assert torch.equal(latent.layers[0][f"{ours}.weight"], values[f"blk.0.{theirs}.weight"]), ours
    assert torch.equal(latent.norm, values["output_norm.weight"])
    step = latent.embedding.abs().amax(1, keepdim=True) / 127
    assert ((latent.embedding - values["token_embd.weight"]).abs() < 0.7 * step + 1e-6).float().mean() > 0.99
    pieces, merges = tiny_pieces()
    assert lexicon.pieces == pieces
    assert [pair for pair in lexicon.rank] == merges
    weight_map = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]
    assert {(tmp_path / file).exists() for file in weight_map.values()} == {True}
