"""The patcher's training: causal, windowed, taught where pieces start, the same after an interruption."""

import argparse
import json
from pathlib import Path

import numpy
import pytest
import torch

from lexicon_fixture import tiny_model, tiny_rows
from model import BOS, EOS, Patcher, _block_attention, _causal_attention, entropies
from piece_stream import read_rows, stream_of
from pieces import load_lexicon
from train_patcher import SHAPES, TrainedPatcher, load_patcher, logits_of, read_held_out, taught_loss, train


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


def test_attention_in_blocks_equals_attention_to_all() -> None:
    torch.manual_seed(1)
    query, key, value = torch.randn(3, 2, 3, 70, 8)
    document = torch.tensor([[0] * 20 + [1] * 50, [0] * 69 + [1]])
    back = torch.arange(70)[:, None] - torch.arange(70)
    visible = (back >= 0) & (back < 16) & (document[:, :, None] == document[:, None, :])
    score = (query @ key.mT * 8**-0.5).masked_fill(~visible[:, None], -torch.inf)
    wanted = score.softmax(-1) @ value
    assert torch.allclose(_causal_attention(query, key, value, 16, document), wanted, atol=1e-5)
    assert torch.allclose(_block_attention(query, key, value, 16, document), wanted, atol=1e-5)


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


def test_resume_and_learning(tmp_path: Path) -> None:
    """Both phases; interrupted in the second."""
    whole = train(arguments(tmp_path, "whole"))
    records = read_log(tmp_path / "whole")
    assert records[-1]["bpb"] < 0.75 * records[0]["bpb"]
    taught = read_log(tmp_path / "whole" / "taught")
    assert taught[0]["bpb"] < 0.75 * records[0]["bpb"], "it goes on from what the first phase made"
    assert taught[-1]["loss"] > records[-1]["loss"], "a uniform share costs"
    train(arguments(tmp_path, "parts", stop_after=11))
    assert not (tmp_path / "parts" / "taught").exists()
    train(arguments(tmp_path, "parts", stop_after=60))
    parts = train(arguments(tmp_path, "parts"))
    for name in (".", "taught"):
        logs = [read_log(tmp_path / folder / name) for folder in ("whole", "parts")]
        assert [record["loss"] for record in logs[0]] == [record["loss"] for record in logs[1]]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, parts.state_dict()[name]), name
    stored = Patcher(SHAPES["test"], 260)
    load_patcher(stored, tmp_path / "whole" / "taught" / "patcher.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(stored.parameters(), whole.average.parameters(), strict=True))


def test_scores_of_held_out_rows(tmp_path: Path) -> None:
    """Against a byte-by-byte reading of one row."""
    args = arguments(tmp_path, "out", steps=3)
    model = train(args)
    for folder in (args.out, args.out / "taught"):
        scores = json.loads((folder / "scores.json").read_text())
        assert 4 < scores["bpb"] < 9 and len(scores["patches"]) == 10
    rows = stream_of(read_rows(args.validation_file, 1), load_lexicon(args.checkpoint))
    nats, entropy, starts = read_held_out(model.average, rows)
    ids = rows.ids.long().tolist()
    places = [i for i in range(1, len(ids)) if ids[i] >= 4]
    assert len(nats) == len(places) < len(ids) - 1 and starts.tolist() == rows.starts[places].tolist()
    with torch.no_grad():
        for n in (0, 7, len(places) - 1):
            logits = logits_of(model.average, torch.tensor([ids[: places[n]]]))[0, -1]
            assert nats[n] == pytest.approx(-logits.log_softmax(0)[ids[places[n]]].item(), abs=1e-4)
            assert entropy[n] == pytest.approx(entropies(logits).item(), abs=1e-4)


def test_average_follows() -> None:
    model = TrainedPatcher(SHAPES["test"], 0.5)
    with torch.no_grad():
        model.patcher.norm.weight.add_(1)
    model.follow(1000)
    assert model.average.norm.weight[0].item() == pytest.approx(1.5)


def arguments(folder: Path, name: str, **change: object) -> argparse.Namespace:
    checkpoint = tiny_model(folder / "model")
    text = "".join(f"const value{i % 7} = list[{i % 5}];\n" for i in range(200)).encode()
    rows = tiny_rows(folder / "rows.npy", load_lexicon(checkpoint), [text, text[3000:]], 256)
    values = {"checkpoint": checkpoint, "rows_file": rows, "validation_file": rows, "validation_rows": 2, "keep": 0.4}
    values |= {"out": folder / name, "shape": "test", "start": None, "minutes": 1e9, "taught_minutes": 1e9, "taught_rate": 0.3}
    values |= {"steps": 60, "rows": 4, "length": 48, "matrix_lr": 0.02, "lr": 0.02, "warmup": 5, "average": 0.9}
    values |= {"seed": 1, "threads": 1, "device": "cpu", "stop_after": None, "log_every": 1}
    return argparse.Namespace(**values | change)


def read_log(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
