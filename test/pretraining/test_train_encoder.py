import argparse
import json
from pathlib import Path

from lexicon_fixture import tiny_model, tiny_rows
from pieces import load_lexicon
from train_encoder import train

TEXTS = [b"const value = con(x);\n    return value\n", b"let's return const(value) == 7\n\n    return con\n"] * 8


def options(tmp_path: Path, **change: object) -> argparse.Namespace:
    checkpoint = tiny_model(tmp_path / "model")
    rows = tiny_rows(tmp_path / "rows.npy", load_lexicon(checkpoint), TEXTS, 32)
    values = {"checkpoint": checkpoint, "rows": rows, "validation": rows, "latent": None, "out": tmp_path / "out", "device": "cpu"}
    values |= {"compile": False, "minutes": 10, "steps": 60, "batch": 4, "hash_vocab": 64, "matrix_lr": 0.02, "lr": 0.01}
    values |= {"seed": 1, "validation_rows": 4, "log_every": 10, "stop_after": None}
    return argparse.Namespace(**values | change)


def test_the_residual_alone_lowers_the_bits(tmp_path: Path) -> None:
    measured = train(options(tmp_path))
    assert measured["with"] < 0.8 * measured["without"]
    assert json.loads((tmp_path / "out/encoder.json").read_text()) == measured
    assert (tmp_path / "out/encoder.safetensors").exists()


def test_interrupted_training_resumes_to_the_same_numbers(tmp_path: Path) -> None:
    whole = train(options(tmp_path, steps=12, out=tmp_path / "whole"))
    train(options(tmp_path, steps=12, out=tmp_path / "parts", stop_after=5))
    assert train(options(tmp_path, steps=12, out=tmp_path / "parts")) == whole
