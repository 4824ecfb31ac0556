"""A draft layer comes back from a checkpoint as it went in, and what proposes pieces there is as the golden file says."""

import hashlib
import json
from pathlib import Path

import torch
from add_drafter import add_drafter, shape_of, stored_drafter
from draft_layer import DraftLayer
from golden_drafter import CASES, case
from latent_reference import load_latent
from lexicon_fixture import tiny_model

GOLDEN = Path(__file__).parent.parent / "golden/lexicon/drafted"


def test_it_comes_back_and_all_that_refers_to_it_fits(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path)
    torch.manual_seed(5)
    layer, pieces = DraftLayer(shape_of(folder, 7), 2), torch.tensor([9, 4, 30])
    for _ in range(2):  # the second replaces the first
        add_drafter(folder, layer, pieces, [1, 0])
    again, proposed = stored_drafter(folder)
    assert proposed.tolist() == pieces.tolist() and again.config.window == 7
    for name, tensor in layer.state_dict().items():
        assert torch.allclose(again.state_dict()[name], tensor, atol=0.01 * tensor.abs().max().item() + 1e-9)
    places = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    assert "drafter.safetensors" in places.values() and "patcher.safetensors" in places.values()
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_the_golden_file_is_what_the_checkpoint_gives() -> None:
    layer, pieces = stored_drafter(GOLDEN)
    latent, golden = load_latent(GOLDEN), json.loads((GOLDEN / "drafter.json").read_text())
    for expected, (known, depth) in zip(golden["cases"], CASES, strict=True):
        found = case(layer, latent, pieces, golden["path"], known, depth)
        assert found["pieces"] == expected["pieces"]
        assert torch.allclose(torch.tensor(found["chances"]), torch.tensor(expected["chances"]), atol=1e-5)
