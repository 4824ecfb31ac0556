import numpy as np
import pytest
import torch
from latent_reference import load_latent
from lexicon_fixture import tiny_model
from lexicon_reference import Trunk
from measure_gate import FEATURES, GateScore, Places, bits_of, fitted, table
from pieces import load_lexicon
from readout import Rule


def places_of(tmp_path, threshold: float) -> tuple[Places, float]:  # noqa: ANN001
    folder = tiny_model(tmp_path / "model")
    text = b"const value = con(x); return value"
    score = GateScore(Trunk(load_latent(folder), load_lexicon(folder), text), Rule(threshold), lambda *_: np.full(257, 1 / 257), {})
    result = score.run()
    score.places.steps = result.steps
    return score.places, result.bits


@torch.no_grad()
def test_the_two_parts_by_the_rules_share_are_the_rule(tmp_path) -> None:  # noqa: ANN001
    places, bits = places_of(tmp_path, 0.5)
    features, share, readout, byte_model = places.tensors()
    assert features.shape == (34, FEATURES)
    assert features[:, 1].tolist() == pytest.approx(share.clamp(1e-7, 1 - 1e-7).logit().tolist(), abs=1e-6)
    assert -((1 - share) * readout + share * byte_model).log2().sum().item() == pytest.approx(bits)
    identity = torch.tensor([0.0, 1, 0, 0, 0, 0], dtype=torch.float64)
    assert bits_of(features, readout, byte_model, identity).sum().item() == pytest.approx(bits)


def test_a_gate_learns_when_to_trust_the_bytes() -> None:
    torch.manual_seed(2)
    features = torch.randn(400, FEATURES, dtype=torch.float64)
    features[:, 0] = 1
    is_sure = features[:, 3] > 0
    readout, byte_model = torch.where(is_sure, 0.1, 0.8).double(), torch.where(is_sure, 0.9, 0.2).double()
    weights = fitted(features, readout, byte_model, list(range(FEATURES)))
    assert bits_of(features, readout, byte_model, weights).mean() < 0.35
    assert weights[3] > 1
    bias = fitted(features, readout, byte_model, [0])
    assert bias[1:].tolist() == [1, 0, 0, 0, 0] and bits_of(features, readout, byte_model, bias).mean() > 0.7


def test_table(tmp_path) -> None:  # noqa: ANN001
    with torch.no_grad():
        places, bits = places_of(tmp_path, 0.1)
    row = table([0.1], {(0.1, 0): places, (0.1, 1): places})[2].split(" | ")
    assert row[1] == "34" and float(row[3]) == pytest.approx(bits / 34, abs=1e-4) and float(row[5]) <= float(row[3])
