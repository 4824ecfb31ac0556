"""A run stops and goes on with the losses it would have had, and keeps its last good state."""

import argparse
import json
import math
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import training_run
from training_run import Muon, Run, Schedule, TrainingStopped, optimizers_of, orthogonal


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.embedding = nn.Embedding(11, 8)
        self.layers = nn.ModuleList([nn.Linear(8, 16, bias=False), nn.Linear(16, 8, bias=False)])

    def loss(self, step: int) -> tuple[Tensor, dict]:
        generator = torch.Generator().manual_seed(step)
        ids = torch.randint(0, 11, (16,), generator=generator)
        x = self.embedding(ids)
        for layer in self.layers:
            x = layer(x).tanh()
        return nn.functional.cross_entropy(x @ self.embedding.weight.T, (ids * 3 + 1) % 11), {"ids": 16}


def start(out: Path, **schedule: float) -> Run:
    model = Model()
    options = {"steps": 20, "warmup": 3, "log_every": 1, "save_seconds": 1e9} | schedule
    return Run(model, optimizers_of(model, 0.02, 0.01), model.loss, out, Schedule(**options))


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]


def test_resume_equals_uninterrupted(tmp_path: Path) -> None:
    whole = start(tmp_path / "whole")
    assert whole.run()
    assert losses(tmp_path / "whole")[-1] < 0.8 * losses(tmp_path / "whole")[0]
    assert not start(tmp_path / "parts").run(stop_after=7)
    resumed = start(tmp_path / "parts")
    resumed.resume()
    assert resumed.step == 7
    assert resumed.run()
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


def test_nan_stops_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    run = start(tmp_path, save_seconds=0)
    good = run.loss_of
    run.loss_of = lambda step: (good(step)[0] * (math.nan if step == 5 else 1), {})
    with pytest.raises(TrainingStopped, match="the loss of step 5 is nan; the last good state is in"):
        run.run()
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["step"] == 4
    assert all(tensor.isfinite().all() for tensor in state["model"].values())


def test_full_disk_keeps_the_earlier_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start(tmp_path).run(stop_after=2)
    before = (tmp_path / "state.pt").read_bytes()

    def full(_: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainingStopped, match="No space left on device"):
        start(tmp_path).run(stop_after=4)
    assert (tmp_path / "state.pt").read_bytes() == before
    assert not (tmp_path / "state.pt.part").exists()


def test_corrupted_state_is_named(tmp_path: Path) -> None:
    start(tmp_path).run(stop_after=2)
    whole = (tmp_path / "state.pt").read_bytes()
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    del state["step"]
    torch.save(state, tmp_path / "stepless.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    others = [(tmp_path / name).read_bytes() for name in ("stepless.pt", "list.pt")]
    for bad in (b"not a state", b"", whole[: len(whole) // 2], *others):
        (tmp_path / "state.pt").write_bytes(bad)
        with pytest.raises(TrainingStopped, match=r"state\.pt: not a state of this model"):
            start(tmp_path).resume()


def test_schedule_by_steps_and_by_seconds() -> None:
    schedule = Schedule(steps=100, warmup=10, warmdown=0.5)
    assert [schedule.rate(step, 0) for step in (0, 9, 50, 75, 100)] == pytest.approx([0.1, 1, 1, 0.5, 0.02])
    timed = Schedule(steps=10**9, warmup=1, warmdown=0.5, seconds=60)
    assert [timed.rate(5, seconds) for seconds in (0, 30, 45, 60)] == pytest.approx([1, 1, 0.5, 0.02])
    assert timed.finished(5, 60) and not timed.finished(5, 59) and schedule.finished(100, 0)


def test_a_pause_is_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock jumps by an hour at a step: the processor has not worked meanwhile, and the rates stay as they were."""
    paused = start(tmp_path, steps=10**9, seconds=3600)
    loss_of, clock, late = paused.loss_of, time.monotonic, [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock() + late[0])

    def pause(step: int) -> tuple[Tensor, dict]:
        late[0] += 3600 if step == 2 else 0
        return loss_of(step)

    paused.loss_of = pause
    assert not paused.run(stop_after=6)
    assert paused.seconds < 60
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])["rate"] == 1.0


def test_by_the_wall_no_state_is_kept_and_a_nan_is_seen_where_it_is_logged(tmp_path: Path) -> None:
    model = Model()
    schedule = Schedule(steps=12, warmup=3, log_every=4, save_seconds=0, seconds=1e9)
    run = Run(model, optimizers_of(model, 0.02, 0.01), model.loss, tmp_path, schedule, device="cuda", seconds=5.0)
    assert run.run() and run.seconds > 5 and run.clock is time.monotonic
    assert len(losses(tmp_path)) == 3 and not (tmp_path / "state.pt").exists()
    schedule = Schedule(steps=12, log_every=4, seconds=1e9)
    run = Run(model, run.optimizers, lambda step: (model.loss(step)[0] * math.nan, {}), tmp_path, schedule, device="cuda")
    with pytest.raises(TrainingStopped, match="the loss of step 3 is nan"):
        run.run()


def test_by_the_wall_nothing_is_saved_of_a_loss_that_is_no_number(tmp_path: Path) -> None:
    model, saved = Model(), []
    schedule = Schedule(steps=20, log_every=10, save_seconds=0, seconds=1e9)
    losses_of = lambda step: (model.loss(step)[0] * (math.nan if step >= 5 else 1), {})  # noqa: E731
    run = Run(model, optimizers_of(model, 0.02, 0.01), losses_of, tmp_path, schedule, device="cuda")
    with pytest.raises(TrainingStopped, match="the loss of step 5 is nan"):
        run.run(on_save=lambda: saved.append(all(each.isfinite().all() for each in model.parameters())))
    assert saved == [True] * 5


def test_a_full_disk_and_a_missing_file_are_named_in_one_sentence() -> None:
    def full(_: argparse.Namespace) -> None:
        raise OSError(28, "No space left on device", "log.jsonl")

    def missing(_: argparse.Namespace) -> None:
        raise FileNotFoundError(2, "No such file or directory", "config.json")

    options = argparse.Namespace(threads=1, device="cpu")
    with pytest.raises(SystemExit, match=r"error: .*No space left on device: 'log\.jsonl'; if the disk is full"):
        training_run.start(full, options)
    with pytest.raises(SystemExit, match=r"error: .*No such file or directory: 'config\.json'$"):
        training_run.start(missing, options)


def test_a_missing_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="torch finds no CUDA device here; train with --device cpu"):
        training_run.start(lambda _: None, argparse.Namespace(threads=1, device="cuda"))


def test_muon_takes_matrices_of_one_shape_together() -> None:
    torch.manual_seed(1)
    first, second = (nn.Parameter(torch.randn(6, 9)) for _ in range(2))
    alone = nn.Parameter(second.detach().clone())
    together, single = Muon([first, second], 0.1), Muon([alone], 0.1)
    for _ in range(3):
        first.grad, second.grad = torch.randn(6, 9), torch.randn(6, 9)
        alone.grad = second.grad.clone()
        together.step()
        single.step()
    assert torch.allclose(second, alone, atol=1e-5)


def test_orthogonal() -> None:
    torch.manual_seed(1)
    for shape in ((8, 20), (20, 8), (12, 12), (3, 8, 20)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
        assert values.min() > 0.4 and values.max() < 1.4


def test_muon_takes_the_matrices_of_layers() -> None:
    model = Model()
    adam, muon = optimizers_of(model, 0.02, 0.01)
    assert isinstance(muon, Muon)
    assert [tuple(p.shape) for p in muon.param_groups[0]["params"]] == [(16, 8), (8, 16)]
    assert [tuple(p.shape) for p in adam.param_groups[0]["params"]] == [(11, 8)]
