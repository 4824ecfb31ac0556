"""The latent transformer against transformers' Llama, its caches and trees, and the stored forms of its weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from golden_lexicon import write_checkpoint
from latent_reference import LatentCache, LatentTransformer, dequantise, load_latent
from safetensors.torch import load_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

PIECES = [1, 5, 17, 3, 3, 40, 9, 22, 61, 2]


@pytest.fixture(scope="module", params=["plain", "blocks"])
def latent(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LatentTransformer:
    folder = tmp_path_factory.mktemp(request.param)
    write_checkpoint(folder, request.param)
    return load_latent(folder)


def test_equals_llama_whose_rotary_pairs_are_half_split(latent: LatentTransformer) -> None:
    config = latent.config
    llama = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(latent.embedding), hidden_size=config.hidden_size, num_hidden_layers=config.layers,
            num_attention_heads=config.heads, num_key_value_heads=config.kv_heads, head_dim=config.head_dim,
            intermediate_size=64, rms_norm_eps=config.norm_eps, tie_word_embeddings=True,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        )
    ).eval()
    weights = {"model.embed_tokens.weight": latent.embedding, "model.norm.weight": latent.norm}
    weights["lm_head.weight"] = latent.embedding
    for i, layer in enumerate(latent.layers):
        for name, weight in layer.items():
            rows = half_split(weight, config.head_dim) if "q_proj" in name or "k_proj" in name else weight
            weights[f"model.layers.{i}.{name}"] = rows
    llama.load_state_dict(weights)
    with torch.no_grad():
        expected = llama(torch.tensor([PIECES])).logits[0]
        got = latent.logits(latent.append(PIECES, LatentCache(config)))
    assert (got - expected).abs().max() < 1e-4


def half_split(weight: Tensor, head_dim: int) -> Tensor:
    """Rows (2 i, 2 i + 1) of each head become rows (i, i + half)."""
    heads = weight.unflatten(0, (-1, head_dim // 2, 2))
    return heads.transpose(1, 2).flatten(0, 2)


def test_chunks_and_branches_equal_a_chain(latent: LatentTransformer) -> None:
    chain = latent.append(PIECES, LatentCache(latent.config))
    cache = LatentCache(latent.config, capacity=2)
    chunks = torch.cat([latent.append(PIECES[:3], cache), latent.append(PIECES[3:], cache)])
    assert (chunks - chain).abs().max() < 1e-5
    # Two branches in one run: after 4 positions the chain's own next two, after 2 another piece.
    visible = torch.zeros(3, 4 + 3, dtype=torch.bool)
    visible[0, [0, 1, 2, 3, 4]] = visible[1, [0, 1, 2, 3, 4, 5]] = visible[2, [0, 1, 6]] = True
    states, _, _ = latent.run([*PIECES[4:6], 33], torch.tensor([4, 5, 2]), visible, cache)
    other = latent.append([*PIECES[:2], 33], LatentCache(latent.config))
    assert (states[:2] - chain[4:6]).abs().max() < 1e-5
    assert (states[2] - other[2]).abs().max() < 1e-5


def test_positions_beyond_the_longest_are_refused(latent: LatentTransformer) -> None:
    with pytest.raises(ValueError, match="512 positions"):
        latent.append([2] * 513, LatentCache(latent.config))


def test_blocks_and_rows_mean_what_the_format_says(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "blocks")
    tensors = load_file(tmp_path / "model.safetensors")
    name = "model.global_transformer.layers.1.mlp.down_proj.weight"
    packed, scale, minimum = (tensors[name + part].numpy() for part in ("", "_scale", "_min"))
    weight = dequantise(name, tensors).numpy()
    for row, column in [(0, 0), (0, 1), (3, 31), (5, 32), (31, 63)]:
        block, within = divmod(column, 32)
        byte = int(packed[row, block, within // 2])
        quant = byte >> 4 if within % 2 else byte & 15
        assert weight[row, column] == np.float32(quant) * np.float32(scale[row, block]) + np.float32(minimum[row, block])
    rows = "model.lexicon.embedding.weight"
    expected = tensors[rows].float() * tensors[f"{rows}_scale"][:, None]
    assert torch.equal(dequantise(rows, tensors), expected)
