"""The local decoder of a tiny model learns what its latent and its texts say."""

import argparse
import json
from pathlib import Path

import numpy
import pytest
import torch
from lexicon_fixture import tiny_model
from pieces import load_lexicon
from train_decoder import train
from training_run import TrainingStopped

TEXTS = [b"const value = con(x);\n    return value\n", b"let's return const(value) == 7\n\n    return con\n"]


def options(tmp_path: Path, **change: object) -> argparse.Namespace:
    checkpoint = tiny_model(tmp_path / "model")
    lexicon = load_lexicon(checkpoint)
    pieces = [piece for text in TEXTS for piece in [lexicon.bos, *(piece for piece, _ in lexicon.cut(text))]] * 8
    rows = numpy.array(pieces[: len(pieces) // 32 * 32], dtype=numpy.uint16).reshape(-1, 32)
    numpy.save(tmp_path / "rows.npy", rows)
    values = {"checkpoint": checkpoint, "rows": tmp_path / "rows.npy", "validation": tmp_path / "rows.npy"}
    values |= {"latent": None, "patcher": None, "patcher_shape": "test", "out": tmp_path / "out", "device": "cpu"}
    values |= {"compile": False, "minutes": 10, "steps": 60, "batch": 4, "byte_rows": 4, "decoder_layers": 2}
    values |= {"vectors": 2, "lags": [0.6, 0.4], "matrix_lr": 0.02, "lr": 0.01, "log_every": 20, "stop_after": None}
    return argparse.Namespace(**values | {"seed": 1, "validation_rows": 4} | change)


def test_it_learns(tmp_path: Path) -> None:
    start = train(options(tmp_path, steps=1, out=tmp_path / "start"))
    end = train(options(tmp_path))
    assert end["patcher_bpb"] == pytest.approx(start["patcher_bpb"])
    assert end["decoder_bpb_by_age"][1] < 0.5 * end["patcher_bpb"]
    assert json.loads((tmp_path / "out/decoder.json").read_text()) == end
    assert (tmp_path / "out/decoder.safetensors").exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"nothing\.npy"):
        train(options(tmp_path, rows=tmp_path / "nothing.npy"))


def test_losses_that_are_no_numbers_stop_it(tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped, match="the last good state"):
        train(options(tmp_path, matrix_lr=float("nan")))
