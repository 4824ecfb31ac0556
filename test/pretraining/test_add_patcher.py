"""A patcher inside a checkpoint: its own file, int8 rows, everything else as it was."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from add_patcher import FILE, add_patcher, int8_rows, stored_patcher
from golden_patcher import golden
from model import Patcher
from train_patcher import SHAPES, logits_of

ROOT = Path(__file__).parent.parent.parent


def test_add_patcher(tmp_path: Path) -> None:
    save_file({"model.lexicon.norm.weight": torch.ones(4)}, tmp_path / "model-1.safetensors")
    index = {"metadata": {}, "weight_map": {"model.lexicon.norm.weight": "model-1.safetensors", "model.patcher.old": "x"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "config.json").write_text('{"model_type": "blt", "lexicon_config": {}}')
    (tmp_path / "tokenizer.json").write_text("{}")
    before = (tmp_path / "model-1.safetensors").read_bytes()
    torch.manual_seed(1)
    patcher = Patcher(SHAPES["test"], 260)
    add_patcher(tmp_path, patcher, 1.23456)
    assert (tmp_path / "model-1.safetensors").read_bytes() == before
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["patching_threshold"] == 1.2346 and config["lexicon_config"] == {}
    assert config["patcher_config"]["sliding_window"] == 8
    places = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]
    assert places["model.patcher.layers.0.mlp.up_proj.weight_scale"] == FILE
    assert "model.patcher.old" not in places
    for line in (tmp_path / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest
    ids = torch.randint(4, 260, (1, 40))
    with torch.no_grad():
        off = (logits_of(stored_patcher(tmp_path), ids) - logits_of(patcher, ids)).abs().max()
    assert 0 < off < 0.2


def test_int8_rows_are_near() -> None:
    torch.manual_seed(1)
    matrix = torch.randn(8, 64)
    matrix[3] = 0
    integers, scales = int8_rows(matrix)
    assert integers.dtype == torch.int8
    assert (integers * scales[:, None] - matrix).square().mean() < 1e-4


def test_the_golden_file_is_of_the_default_model() -> None:
    """The runtime is compared with it (test/model-runtime/model/default-patcher.test.ts)."""
    stored = json.loads((ROOT / "test/golden/lexicon/patcher.json").read_text())
    found = golden(ROOT / "models/default")
    assert found["text"] == stored["text"]
    for name in ("log_probability", "entropy"):
        assert found[name] == pytest.approx(stored[name], abs=1e-3)
