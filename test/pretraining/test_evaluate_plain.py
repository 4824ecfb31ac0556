"""Bits per byte, against a byte-by-byte count."""

import math
from pathlib import Path

import pytest
import torch

from checkpoint import load_checkpoint
from evaluate_plain import Sum, score
from model import BOS

TINY = Path(__file__).parent.parent.parent / "models" / "tiny"


@pytest.mark.parametrize("text", [b"x", b"def add(a, b):\n    return a + b\n", "naïve €\n".encode() + bytes([0, 254])])
def test_score(text: bytes) -> None:
    """Each byte's probability from a forward that ends just before it."""
    model, bits, ids = load_checkpoint(TINY), 0.0, [BOS]
    with torch.no_grad():
        for byte in text:
            row = torch.tensor([ids])
            bits -= model(row)[0, -1].log_softmax(0)[byte + 4].item() / math.log(2)
            ids.append(byte + 4)
    found = score(model, text)
    assert found.bits == pytest.approx(bits, rel=1e-5)
    assert found.bytes == len(text)
    assert 1 <= found.patches <= len(text)


def test_sums() -> None:
    total = Sum(1, 10, 20.0, 30.0, 5, 40)
    total.add(Sum(1, 30, 20.0, 10.0, 5, 40))
    assert total.line() == {
        "files": 2,
        "bytes": 40,
        "bpb": 1.0,
        "patcher_bpb": 1.0,
        "patch_length": 4.0,
        "xz_bpb": 2.0,
    }
