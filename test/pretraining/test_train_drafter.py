"""Draft layers of a tiny model learn what its latent says; the divergence has the gradient it claims."""

import argparse
import json
from pathlib import Path

import pytest
import torch
from lexicon_fixture import tiny_model, tiny_rows
from pieces import load_lexicon
from train_drafter import Divergence, train
from training_run import TrainingStopped

TEXTS = [b"const value = con(x);\n    return value\n", b"let's return const(value) == 7\n\n    return con\n"] * 8


def options(tmp_path: Path, **change: object) -> argparse.Namespace:
    checkpoint = tiny_model(tmp_path / "model")
    rows = tiny_rows(tmp_path / "rows.npy", load_lexicon(checkpoint), TEXTS, 32)
    values = {"checkpoint": checkpoint, "rows": rows, "validation": rows, "latent": None, "out": tmp_path / "out", "device": "cpu"}
    values |= {"compile": False, "minutes": 10, "steps": 60, "batch": 4, "inner": ["0", "none"], "depths": 3}
    values |= {"vocabulary": 1000, "matrix_lr": 0.02, "lr": 0.01, "seed": 1, "validation_rows": 4, "log_every": 20}
    return argparse.Namespace(**values | {"stop_after": None} | change)


def test_all_layers_learn(tmp_path: Path) -> None:
    start = train(options(tmp_path, steps=1, out=tmp_path / "start"))
    end = train(options(tmp_path))
    for name in ("0", "none"):
        before, after = (each[name]["right_at_age_0_1_2_"]["likeliest"] for each in (start, end))
        assert after[0] > before[0] + 0.2
    assert json.loads((tmp_path / "out/drafter.json").read_text()) == end
    assert (tmp_path / "out/draft-0.safetensors").exists() and (tmp_path / "out/draft-none.safetensors").exists()


def test_interrupted_training_resumes_to_the_same_numbers(tmp_path: Path) -> None:
    whole = train(options(tmp_path, steps=12, out=tmp_path / "whole"))
    assert train(options(tmp_path, steps=12, out=tmp_path / "parts", stop_after=5)) == {}
    assert train(options(tmp_path, steps=12, out=tmp_path / "parts")) == whole


def test_a_layer_that_the_latent_has_not_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="--inner 0,9: the latent has layers 0 to 1"):
        train(options(tmp_path, inner=["0,9"]))


def test_losses_that_are_no_numbers_stop_it(tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped, match="the last good state"):
        train(options(tmp_path, matrix_lr=float("nan")))


def test_divergence() -> None:
    torch.manual_seed(4)
    ours, theirs, answers = torch.randn(2, 10, 8, requires_grad=True), torch.randn(10, 8), torch.randn(20, 8)
    weights = torch.stack([torch.full((10,), 0.1), torch.arange(10) / 45])
    (2 * Divergence.apply(ours, theirs, answers, weights, 10)).sum().backward()
    copy = ours.detach().clone().requires_grad_()
    log_p, target = (copy @ answers.T).log_softmax(-1), (theirs @ answers.T).softmax(-1)
    nats = torch.nn.functional.kl_div(log_p, target.expand(2, -1, -1), reduction="none").sum(-1)
    (2 * (nats * weights).sum()).backward()
    assert torch.allclose(ours.grad, copy.grad, atol=1e-5)
