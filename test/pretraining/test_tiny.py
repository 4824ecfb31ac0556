"""The stand-in model that is kept in models/tiny: what transformers and the twin make of it."""

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open

from checkpoint import load_checkpoint
from model import entropies
from parity import TOLERANCE, difference, load, reference
from random_checkpoint import sample_ids

TINY = Path(__file__).parent.parent.parent / "models" / "tiny"


@pytest.mark.parametrize("length", [1, 2, 60, 700])
def test_same_as_transformers(length: int) -> None:
    """Without windows, as transformers ignores them."""
    ids = sample_ids(1, length, 4)
    case = reference(load(TINY), ids[0].tolist())
    twin = load_checkpoint(TINY, windows=False, documents=False)
    with torch.no_grad():
        starts, logits, entropy = twin.patch_starts(ids), twin(ids)[0], entropies(twin.patcher_logits(ids))[0]
    lengths = torch.diff(starts[0].nonzero()[:, 0], append=torch.tensor([length + 1])).tolist()
    found = difference(case, logits, entropy, lengths, capped=False)
    assert not found.bad, found


def test_windows_matter_only_beyond_them() -> None:
    """Within 64 ids the windows of the configuration change nothing; beyond, they do."""
    ids = sample_ids(1, 600, 4)
    with torch.no_grad():
        with_windows, without = (load_checkpoint(TINY, windows=on)(ids) for on in (True, False))
    off = (with_windows - without).abs().amax(2)[0]
    assert off[:64].max() <= TOLERANCE
    assert off[300:].max() > 0.01


def test_knows_code() -> None:
    """On this repository's Python sources: well under the 8 bits of a blind guess, patches of some four bytes."""
    model, ids = load_checkpoint(TINY), sample_ids(4, 1500, 9)
    with torch.no_grad():
        starts = model.patch_starts(ids[:, :-1])
        nats = F.cross_entropy(model(ids[:, :-1], starts).flatten(0, 1), ids[:, 1:].flatten())
    assert nats.item() / math.log(2) < 2.8
    assert 2.5 < 1 / starts[:, 2:].float().mean().item() < 6


def test_files() -> None:
    config = json.loads((TINY / "config.json").read_text())
    windows = [config[f"{part}_config"].get("sliding_window") for part in ("patcher", "encoder", "decoder", "global")]
    assert windows == [64, 256, 256, None]
    assert (TINY / "model.safetensors").stat().st_size < 12_000_000
    with safe_open(TINY / "model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118
    packages = (TINY / "ATTRIBUTION.md").read_text()
    assert "*validation*" in packages
    assert not any(
        name in packages for name in ("twinny", "jax-js", "vscode-languageserver", "nanochat", "node-llama-cpp")
    )
