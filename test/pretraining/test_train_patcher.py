"""The patcher's training: causal, windowed, taught where pieces start, the same after an interruption."""

import argparse
import json
from pathlib import Path

import numpy
import pytest
import torch

from model import BOS, EOS, Patcher
from text_stream import read_ids
from train_patcher import SHAPES, TrainedPatcher, load_patcher, logits_of, taught_loss, train


def test_later_ids_change_nothing_and_the_window_ends() -> None:
    torch.manual_seed(1)
    patcher = Patcher(SHAPES["test"], 260)
    ids = torch.randint(4, 260, (1, 80))
    with torch.no_grad():
        whole = logits_of(patcher, ids)
        assert torch.allclose(whole[:, :50], logits_of(patcher, ids[:, :50]), atol=1e-5)
        changed = ids.clone()
        changed[0, 10] = 4 + (changed[0, 10] - 3) % 256
        off = (logits_of(patcher, changed) - whole).abs().amax(2)[0]
    config = SHAPES["test"]
    reach = config.layers * (config.window - 1)
    assert off[:10].max() == 0 and off[10] > 0 and off[10 + reach + 1 :].max() < 1e-5


def test_nothing_is_seen_across_documents() -> None:
    patcher = Patcher(SHAPES["test"], 260)
    tail = [BOS, 100, 101, 102]
    with torch.no_grad():
        after = logits_of(patcher, torch.tensor([[70, 71, EOS, *tail]]))[0, 3:]
        alone = logits_of(patcher, torch.tensor([tail]))[0]
    assert torch.allclose(after, alone, atol=1e-5)


def test_taught_loss_is_least_at_the_taught_target() -> None:
    logits = torch.zeros(1, 2, 260, requires_grad=True)
    targets, starts = torch.tensor([[7, 9]]), torch.tensor([[True, False]])
    loss, true = taught_loss(logits, targets, starts, 0.4)
    loss.backward()
    assert true.item() == pytest.approx(numpy.log(260), rel=1e-5)
    # The gradient is softmax minus target: at the start 0.4 of the true id is over the uniform rest.
    assert 2 * logits.grad[0, 0, 7].item() == pytest.approx(1 / 260 - (0.4 + 0.6 / 260), abs=1e-6)
    assert 2 * logits.grad[0, 0, 8].item() == pytest.approx(1 / 260 - 0.6 / 260, abs=1e-6)
    assert 2 * logits.grad[0, 1, 9].item() == pytest.approx(1 / 260 - 1, abs=1e-6)


@pytest.mark.parametrize("taught", [False, True])
def test_resume_and_learning(tmp_path: Path, taught: bool) -> None:
    whole = train(arguments(tmp_path, "whole", taught))
    records = read_log(tmp_path / "whole")
    assert records[-1]["bpb"] < 0.75 * records[0]["bpb"]
    train(arguments(tmp_path, "parts", taught, stop_after=11))
    parts = train(arguments(tmp_path, "parts", taught))
    assert [record["loss"] for record in read_log(tmp_path / "parts")] == [record["loss"] for record in records]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, parts.state_dict()[name]), name
    stored = Patcher(SHAPES["test"], 260)
    load_patcher(stored, tmp_path / "whole" / "patcher.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(stored.parameters(), whole.average.parameters(), strict=True))


def test_starts_of_another_text_are_named(tmp_path: Path) -> None:
    args = arguments(tmp_path, "out", True)
    args.starts.write_bytes(b"\0\0")
    with pytest.raises(SystemExit, match="train.starts is not of this text"):
        train(args)


def test_average_follows() -> None:
    model = TrainedPatcher(SHAPES["test"], 0.5)
    with torch.no_grad():
        model.patcher.norm.weight.add_(1)
    model.follow(1000)
    assert model.average.norm.weight[0].item() == pytest.approx(1.5)


def arguments(folder: Path, name: str, taught: bool, stop_after: int | None = None) -> argparse.Namespace:
    data, starts = folder / "train.bin", folder / "train.starts"
    data.write_bytes(b"".join(f"const value{i % 7} = list[{i % 5}];\n".encode() for i in range(200)) + b"\xff")
    ids = read_ids([data])
    starts.write_bytes(numpy.packbits(numpy.isin(ids, [ord(c) + 4 for c in "vl[;"])).tobytes())
    values = {"data": [data], "starts": starts if taught else None, "keep": 0.4, "out": folder / name, "shape": "test"}
    values |= {"start": None, "minutes": 1e9, "steps": 60, "rows": 4, "length": 48, "matrix_lr": 0.02, "lr": 0.02}
    values |= {"warmup": 5, "average": 0.9, "seed": 1, "threads": 1, "stop_after": stop_after, "log_every": 1}
    return argparse.Namespace(**values)


def read_log(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
