import argparse
import json
import math
import time
from pathlib import Path

import numpy
import pytest
import torch
import train_latent
import training_run
from golden_lexicon import write_checkpoint
from latent_training import FastLatent, load_trained_latent
from safetensors import SafetensorError
from safetensors.torch import load_file
from training_run import TrainingStopped


def run(tmp_path: Path, **changes: object) -> list[dict]:
    write_checkpoint(tmp_path / "model", "blocks")
    chance = numpy.random.default_rng(1)
    # Pieces that follow each other: something can be learned in seconds.
    steps = numpy.arange(24 * 64).reshape(24, 64) + chance.integers(0, 40, (24, 1))
    rows = (20 + steps % 40).astype(numpy.uint16)
    numpy.save(tmp_path / "rows.npy", rows[4:])
    numpy.save(tmp_path / "held.npy", rows[:4])
    missing = numpy.array([[10, 20]] * 2, numpy.uint16)
    held = {"with_suffix": rows[:2], "without": rows[:2], "with_missing": missing, "without_missing": missing}
    numpy.savez(tmp_path / "held-completions.npz", **held)
    options = {"checkpoint": tmp_path / "model", "rows": [tmp_path / "rows.npy"], "validation": tmp_path / "held"}
    options |= {"out": tmp_path / "out", "device": "cpu", "minutes": 0.1, "rate": 3e-2, "batch": 4, "batches": 2}
    options |= {"compile": False, "validation_rows": 4, "log_every": 1, "seed": 1, **changes}
    train_latent.train(argparse.Namespace(**options))
    return [json.loads(line) for line in (tmp_path / "out/log.jsonl").read_text().splitlines()]


def test_training_lowers_the_loss_of_the_rounded_weights(tmp_path: Path) -> None:
    log = run(tmp_path)
    measured = {record["at"]: record for record in log if "at" in record}
    assert measured["end"]["bpb"] < 0.7 * measured["begin"]["bpb"]
    assert measured["end"]["bits_with_suffix"] == measured["end"]["bits_without"]
    assert any("rate" in record for record in log)


def test_parts_hold_what_the_saved_latent_holds(tmp_path: Path) -> None:
    run(tmp_path, minutes=0.01)
    weights = load_trained_latent(tmp_path / "out/latent.pt")
    for file in (tmp_path / "out/parts").iterdir():
        tensors, first = load_file(file), int(file.stem.split("-")[1])
        for name, matrix in weights.matrices.items():
            packed = tensors[name]
            q = torch.stack([packed & 15, packed >> 4], dim=-1).flatten(-2).float() - 8
            unpacked = (q * tensors[f"{name}_scale"][..., None].float()).flatten(-2)
            assert torch.equal(unpacked, matrix[first : first + len(packed)])
    latent = FastLatent(weights.config, torch.float32).load(weights)
    assert torch.isfinite(latent.hidden(torch.arange(20, 40)[None])).all()


def test_what_is_no_number_stops_it_and_the_last_good_parts_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, minutes=0.01)
    parts = {path: path.read_bytes() for path in (tmp_path / "out/parts").iterdir()}
    gather, step = train_latent.gather_gradients, train_latent.Adam.step

    def with_bad_gradient(latent: FastLatent, ids: torch.Tensor, gradients: list[torch.Tensor]) -> torch.Tensor:
        loss = gather(latent, ids, gradients)
        gradients[0][0, 0, 0] = math.nan
        return loss

    def that_ruins_the_last_step(adam: train_latent.Adam, gradients: list[torch.Tensor], rate: float) -> None:
        step(adam, gradients, rate)
        adam.masters[0].fill_(math.nan)
        time.sleep(1)

    monkeypatch.setattr(train_latent, "gather_gradients", with_bad_gradient)
    with pytest.raises(TrainingStopped, match="the loss of step 1 is .* its gradient's norm nan; what was good last is in .*parts"):
        run(tmp_path, minutes=0.01)
    monkeypatch.setattr(train_latent, "gather_gradients", gather)
    monkeypatch.setattr(train_latent.Adam, "step", that_ruins_the_last_step)
    with pytest.raises(TrainingStopped, match="the weights give .*nan"):
        run(tmp_path, minutes=0.01)
    assert {path: path.read_bytes() for path in (tmp_path / "out/parts").iterdir()} == parts


def test_a_full_disk_keeps_the_parts_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, minutes=0.01)
    parts = {path: path.read_bytes() for path in (tmp_path / "out/parts").iterdir()}

    def full(_: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("No space left on device (os error 28)")

    monkeypatch.setattr(training_run, "save_file", full)
    with pytest.raises(SafetensorError):
        run(tmp_path, minutes=0.01)
    assert {path: path.read_bytes() for path in (tmp_path / "out/parts").iterdir()} == parts


def test_the_rate_rises_stays_and_falls_to_nothing() -> None:
    rates = [train_latent.schedule(done / 100) for done in range(101)]
    assert rates[0] == 0 and max(rates) == 1 and rates[20] == 1 and rates[100] == 0 and rates[64] == 0.5


def test_every_row_of_a_file_comes_once_before_the_next_file(tmp_path: Path) -> None:
    first, second = numpy.arange(10, dtype=numpy.uint16)[:, None], numpy.arange(20, 26, dtype=numpy.uint16)[:, None]
    numpy.save(tmp_path / "a.npy", first)
    batches = train_latent.batches_of([tmp_path / "a.npy", tmp_path / "b.npy"], 3, seed=2)
    seen = [next(batches).flatten().tolist() for _ in range(3)]
    numpy.save(tmp_path / "b.npy", second)  # in time
    seen += [next(batches).flatten().tolist() for _ in range(3)]
    assert len(set(sum(seen[:3], []))) == 9 and set(sum(seen[:3], [])) <= set(range(10))
    assert set(sum(seen[3:5], [])) == set(range(20, 26))
    assert set(seen[5]) <= set(range(10))
