"""With no limit the curve's first point is the exact rule; with one it stays a causal distribution and asks less."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from golden_lexicon import TEXTS, tiny_fallback
from latent_reference import load_latent
from lexicon_fixture import tiny_model
from lexicon_reference import Trunk, score
from measure_decoder import Curve, QuietScore
from pieces import load_lexicon
from readout import Rule



@pytest.fixture(scope="module")
def trunks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trunk]:
    checkpoint = tiny_model(tmp_path_factory.mktemp("tiny"))
    latent, lexicon = load_latent(checkpoint), load_lexicon(checkpoint)
    with torch.no_grad():
        return {name: Trunk(latent, lexicon, text) for name, text in TEXTS.items()}


def run(trunk: Trunk, rule: Rule, quiet: float) -> Curve:
    with torch.no_grad():
        return QuietScore(trunk, rule, lambda length, *_: tiny_fallback(trunk.text[:length]), quiet, {}).run()


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("rule", [Rule(), Rule(refresh_threshold=0.3, word_limit=8)])
def test_the_first_point_is_the_exact_rule(trunks: dict[str, Trunk], rule: Rule, name: str) -> None:
    with torch.no_grad():
        exact = score(trunks[name], rule, tiny_fallback)
    found = run(trunks[name], rule, 0.0)
    assert found.bits == pytest.approx(-exact.log_probability[:-1].sum() / math.log(2), rel=1e-4)
    assert (found.steps, found.positions, found.alone) == (exact.steps, exact.positions, 0)


def test_where_the_byte_model_is_sure_the_latent_is_not_asked(trunks: dict[str, Trunk]) -> None:
    """Of a byte model that is unsure nowhere every byte is its own."""
    trunk = trunks["code"]
    alone = run(trunk, Rule(), 99.0)
    bits = -sum(np.log2(tiny_fallback(trunk.text[:length])[byte]) for length, byte in enumerate(trunk.text))
    assert (alone.steps, alone.alone) == (0, len(trunk.text)) and alone.bits == pytest.approx(bits)
    entropies = [-(known * np.log2(known)).sum() for known in (tiny_fallback(trunk.text[:n]) for n in range(len(trunk.text) + 1))]
    some = run(trunk, Rule(), float(np.median(entropies)))
    assert 0 < some.steps < run(trunk, Rule(), 0.0).steps and 0 < some.alone < len(trunk.text)


def test_what_the_byte_model_is_told_of_the_latent_is_causal(trunks: dict[str, Trunk]) -> None:
    """It is given the newest latent that has been asked, never one whose pieces end after the byte."""
    trunk, told = trunks["code"], []

    def byte_model(length: int, newest: torch.Tensor, end: int) -> np.ndarray:
        told.append((length, end))
        assert newest.shape == (32,)
        return tiny_fallback(trunk.text[:length])

    with torch.no_grad():
        QuietScore(trunk, Rule(), byte_model, 0.0, {}).run()
    assert all(0 <= end <= length for length, end in told) and len({end for _, end in told}) > 5
