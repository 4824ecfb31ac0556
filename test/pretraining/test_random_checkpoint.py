"""Random checkpoints have the sizes, files and statistics that were asked for."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from checkpoint import load_tensors
from parity import load
from random_checkpoint import DEFAULT_SHAPE, Shape, config_of, make_checkpoint, sample_ids


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize(("wanted", "longest"), [(2.0, 0), (4.0, 0), (6.0, 6)])
def test_statistics(k: int, wanted: float, longest: int, tmp_path: Path) -> None:
    shape = Shape(k=k, mean_patch_length=wanted, max_patch_length=longest, hash_vocab=101)
    figures = make_checkpoint(tmp_path, shape, seed=k)
    assert figures["mean_patch_length"] == pytest.approx(wanted, rel=0.15)
    low, _, high = figures["entropy_5_50_95"]
    assert high - low > 0.5
    logits = load(tmp_path)(sample_ids(1, 100, 5), use_cache=False).logits
    assert 0.7 < logits.std().item() < 1.4
    assert json.loads((tmp_path / "config.json").read_text())["max_patch_length"] == (longest or None)


def test_grouped_query_and_windows(tmp_path: Path) -> None:
    shape = Shape(
        local_heads=4, local_kv_heads=2, latent_kv_heads=1, patcher_kv_heads=1, patcher_window=64, local_window=128, k=3
    )
    make_checkpoint(tmp_path, shape)
    config = json.loads((tmp_path / "config.json").read_text())
    parts = [config[name] for name in ("encoder_config", "decoder_config", "global_config", "patcher_config")]
    assert [part["num_key_value_heads"] for part in parts] == [2, 2, 1, 1]
    assert [part.get("sliding_window") for part in parts] == [128, 128, None, 64]
    tensors = load_tensors(tmp_path)
    assert tensors["model.local_decoder.cross_attn_layers.0.k_proj.weight"].shape == (16, 32)
    assert tensors["model.global_transformer.layers.0.self_attn.v_proj.weight"].shape == (16, 64)
    assert tensors["model.global_transformer.token_embedding_projection.weight"].shape == (64, 96)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_dtypes_and_shards(dtype: torch.dtype, tmp_path: Path) -> None:
    """A sharded checkpoint over an unsharded one leaves no file of the other."""
    make_checkpoint(tmp_path, Shape(hash_vocab=101), dtype)
    one = load_tensors(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {dtype}  # noqa: SIM118
    make_checkpoint(tmp_path, Shape(hash_vocab=101), dtype, max_shard_size="100KB")
    assert not (tmp_path / "model.safetensors").exists()
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    many = load_tensors(tmp_path)
    assert one.keys() == many.keys()
    assert all(torch.equal(one[name], many[name]) for name in one)


def test_default_shape() -> None:
    """The benchmark's sizes: the projection into the latent width falls away, heads are 64 and 32 wide."""
    config = config_of(DEFAULT_SHAPE)
    assert not config.needs_latent_projection
    assert (config.latent.layers, config.latent.head_dim, config.latent.kv_heads) == (30, 64, 3)
    assert (config.encoder.head_dim, config.decoder.layers, config.hash_vocab) == (32, 3, 32768)
    assert (config.patcher.head_dim, config.patcher.window) == (64, 64)
