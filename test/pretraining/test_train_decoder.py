"""Decoder and draft layer of a tiny model learn what its latent and its texts say; the divergence has the gradient it claims."""

import argparse
import json
from pathlib import Path

import numpy
import pytest
import torch
from lexicon_fixture import tiny_model
from pieces import load_lexicon
from train_decoder import Divergence, RightInARow, train
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
    values |= {"compile": False, "minutes": 10, "steps": 60, "batch": 4, "byte_rows": 2, "decoder_layers": 2}
    values |= {"vectors": 2, "lags": [0.6, 0.4], "depths": 3, "vocabulary": 1000, "matrix_lr": 0.02, "lr": 0.01}
    return argparse.Namespace(**values | {"seed": 1, "validation_rows": 4} | change)


def test_both_learn(tmp_path: Path) -> None:
    start = train(options(tmp_path, steps=1))
    end = train(options(tmp_path))
    assert end["patcher_bpb"] == pytest.approx(start["patcher_bpb"])
    assert end["decoder_bpb_by_age"][1] < 0.5 * end["patcher_bpb"]
    likeliest = "draft layer, likeliest"
    assert end["right_at_age_0_1_2_"][likeliest][0] > start["right_at_age_0_1_2_"][likeliest][0] + 0.2
    assert json.loads((tmp_path / "out/decoder.json").read_text()) == end
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"decoder.json", "decoder.safetensors", "draft.safetensors"}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"nothing\.npy"):
        train(options(tmp_path, rows=tmp_path / "nothing.npy"))


def test_losses_that_are_no_numbers_stop_it(tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped, match="last good weights"):
        train(options(tmp_path, matrix_lr=float("nan")))


def test_weights_that_are_no_numbers_are_not_saved(tmp_path: Path) -> None:
    train(options(tmp_path, steps=2))
    good = {name: (tmp_path / "out" / name).read_bytes() for name in ("draft.safetensors", "decoder.safetensors")}
    # Fewer steps than are logged, the last of which has made the weights what they are.
    for steps in (1, 3):
        with pytest.raises(TrainingStopped, match=f"by step {steps} losses or weights are no numbers"):
            train(options(tmp_path, matrix_lr=float("nan"), steps=steps))
    assert {name: (tmp_path / "out" / name).read_bytes() for name in good} == good


def test_divergence() -> None:
    torch.manual_seed(4)
    ours, theirs, answers = torch.randn(10, 8, requires_grad=True), torch.randn(10, 8), torch.randn(20, 8)
    (2 * Divergence.apply(ours, theirs, answers, 10)).backward()
    copy = ours.detach().clone().requires_grad_()
    log_p, target = (copy @ answers.T).log_softmax(-1), (theirs @ answers.T).softmax(-1)
    (2 * torch.nn.functional.kl_div(log_p, target, reduction="batchmean")).backward()
    assert torch.allclose(ours.grad, copy.grad, atol=1e-5)


def test_right_in_a_row() -> None:
    found = RightInARow(2)
    found.add([torch.tensor([[True, True, False, True, True]]), torch.tensor([[False, True, True, True, False]])])
    # Drafts begin at pieces 0, 1, 2: first pieces right, right, wrong; second ones (pieces 1, 2, 3) right, right, right.
    assert found.means() == [0.667, 1.333]
    assert found.rates() == [0.667, 1.0]
