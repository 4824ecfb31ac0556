"""Adapters as our writer writes them are read by PEFT and have the effect that they have in our runtime."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors import safe_open

from golden_adapter import llama_of, log_probs
from latent_reference import LatentCache, load_latent

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize("merged", [False, True])
def test_our_files_in_peft(merged: bool) -> None:
    base = llama_of(load_latent(GOLDEN / "lexicon/plain"))
    with safe_open(GOLDEN / "adapter/log_probs.safetensors", "pt") as file:
        pieces, expected = json.loads(file.metadata()["pieces"]), file.get_tensor("log_probs")
    before = log_probs(base, pieces)
    model = PeftModel.from_pretrained(base, GOLDEN / "adapter/ours").eval()
    found = log_probs(model.merge_and_unload() if merged else model, pieces)
    assert (found - expected).abs().max() < 1e-4
    assert (found - before).abs().max() > 0.1


def test_llama_is_the_same_network() -> None:
    latent = load_latent(GOLDEN / "lexicon/plain")
    pieces = [0, 5, 31, 64]
    states = latent.append(pieces, LatentCache(latent.config))
    expected = latent.logits(states).log_softmax(-1)
    assert (log_probs(llama_of(latent), pieces) - expected).abs().max() < 1e-4
    assert torch.isfinite(expected).all()
