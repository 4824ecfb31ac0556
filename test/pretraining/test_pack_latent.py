import json
import shutil
from pathlib import Path

import pytest
import torch
from golden_lexicon import write_checkpoint
from latent_reference import LatentCache, load_latent
from latent_training import FastLatent, begin_from, rounded_weights
from lexicon_fixture import tiny_model
from pack_latent import pack
from train_latent import save_parts


def test_a_packed_latent_computes_what_it_did_in_training(tmp_path: Path) -> None:
    base = load_latent(tiny_model(tmp_path / "base"))
    config = json.loads((tmp_path / "base/config.json").read_text())
    (tmp_path / "base/config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "blt-blocks"}}))
    weights = begin_from(base)
    weights.readout += 0.1 * torch.randn(32, 32)
    save_parts(weights, tmp_path / "parts")
    shutil.copytree(tmp_path / "base", tmp_path / "target")
    pack(tmp_path / "base", tmp_path / "parts", tmp_path / "target")
    packed = load_latent(tmp_path / "target")
    ids = torch.randint(2, 80, (30,))
    trained = FastLatent(base.config, torch.float32, eight_bit=False).load(rounded_weights(weights))
    wanted = trained.hidden(ids[None])[0] @ trained.embedding.T
    got = packed.logits(packed.append(ids.tolist(), LatentCache(packed.config)))
    assert torch.allclose(got, wanted, atol=1e-3 * wanted.abs().max())
    index = json.loads((tmp_path / "target/model.safetensors.index.json").read_text())["weight_map"]
    assert any("patcher" in name for name in index) and not any(name.endswith("_min") for name in index)
    written = json.loads((tmp_path / "target/config.json").read_text())
    assert written["lexicon_config"]["completion_marks"] == {"path": 31, "suffix": 28, "prefix": 30}
    assert written["patcher_config"] == config["patcher_config"]
    # Training may go on from there, with the very same rounded weights.
    again = begin_from(packed)
    for name, matrix in rounded_weights(again).matrices.items():
        assert torch.equal(matrix, again.matrices[name])
        assert torch.equal(matrix, rounded_weights(weights).matrices[name])
    assert torch.allclose(again.embedding, weights.embedding) and torch.equal(again.readout, weights.readout)
    save_parts(again, tmp_path / "parts")
    pack(tmp_path / "target", tmp_path / "parts", tmp_path / "target")
    repacked = load_latent(tmp_path / "target")
    assert torch.allclose(repacked.embedding, packed.embedding) and torch.equal(repacked.readout, packed.readout)


def test_missing_layers_are_named(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "base", "blocks")
    (tmp_path / "parts").mkdir()
    with pytest.raises(SystemExit, match="holds 0 of 2 layers"):
        pack(tmp_path / "base", tmp_path / "parts", tmp_path / "base")
