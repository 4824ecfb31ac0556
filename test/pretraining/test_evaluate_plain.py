"""Bits per byte, against a byte-by-byte count."""

import json
import math
from pathlib import Path

import pytest
import torch

from checkpoint import load_checkpoint
from evaluate_plain import Sum, main, score, texts_of
from model import BOS

TINY = Path(__file__).parent.parent.parent / "models" / "tiny"
GOLDEN = Path(__file__).parent.parent / "golden" / "k2"


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


def test_files_of_a_folder_by_language_and_by_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for name, text in {"C/a.c": b"int main(void) {}\n", "Go/b.go": b"package main\n", "Go/c.go": b"var x int\n"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(text)
    monkeypatch.setattr("sys.argv", ["evaluate_plain.py", str(GOLDEN), "--files", str(tmp_path), "--transformers"])
    main()
    found = json.loads(capsys.readouterr().out)
    assert {name: line["bytes"] for name, line in found.items()} == {"all": 41, "C": 18, "Go": 23}
    assert all(line["transformers_bpb"] == pytest.approx(line["bpb"], abs=2e-3) for line in found.values())
    assert found["C"]["bpb"] == pytest.approx(score(load_checkpoint(GOLDEN), b"int main(void) {}\n").bits / 18, abs=1e-4)


def test_a_folder_without_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="has no files in a folder a language"):
        list(texts_of(tmp_path))


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
