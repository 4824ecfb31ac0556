"""Training: the same losses after an interruption, and a stop that keeps the last good state."""

import json
import math
from pathlib import Path

import numpy
import pytest
import torch

import train_plain
from checkpoint import load_checkpoint
from config import BltConfig, StackConfig
from model import BOS, EOS, entropies
from train_plain import TrainOptions, batch, learning_rate, train
from training_run import TrainingStopped

OPTIONS = {"patcher_steps": 4, "steps": 5, "length": 96, "rows": 2, "warmup": 2, "log_every": 1, "save_seconds": 1e9}


def test_resume(tmp_path: Path) -> None:
    """Stopped in either phase or between them and taken up again: the same losses and weights to the last bit."""
    whole = train(tiny(), stream(), tmp_path / "whole", TrainOptions(**OPTIONS))
    for stop in (2, 4, 7):
        folder = tmp_path / f"stopped-{stop}"
        train(tiny(), stream(), folder, TrainOptions(**OPTIONS), stop_after=stop)
        assert len(losses(folder)) == stop
        resumed = train(tiny(), stream(), folder, TrainOptions(**OPTIONS))
        assert losses(folder) == losses(tmp_path / "whole")
        assert len(losses(folder)) == OPTIONS["patcher_steps"] + OPTIONS["steps"]
        for name, tensor in whole.state_dict().items():
            assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_resume_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state saved on the way is enough: what followed it is done again with the same losses."""
    train(tiny(), stream(), tmp_path / "whole", TrainOptions(**OPTIONS))
    real, calls = learning_rate, []

    def killed(*args: float) -> float:
        calls.append(args)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(train_plain, "learning_rate", killed)
    with pytest.raises(KeyboardInterrupt):
        train(tiny(), stream(), tmp_path / "killed", TrainOptions(**OPTIONS | {"save_seconds": 0}))
    monkeypatch.setattr(train_plain, "learning_rate", real)
    train(tiny(), stream(), tmp_path / "killed", TrainOptions(**OPTIONS))
    assert dict(losses(tmp_path / "killed")) == dict(losses(tmp_path / "whole"))


def test_nan_stops_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    options = TrainOptions(**OPTIONS | {"patcher_lr": 1e30, "save_seconds": 0})
    with pytest.raises(
        TrainingStopped, match=r"in phase patcher at step 1; the last good state is kept in .*state\.pt"
    ):
        train(tiny(), stream(), tmp_path, options)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["step"] == 0
    assert all(tensor.isfinite().all() for tensor in state["model"].values())
    assert not (tmp_path / "checkpoint").exists()
    train(tiny(), stream(), tmp_path, TrainOptions(**OPTIONS))
    assert all(math.isfinite(loss) for _, loss in losses(tmp_path)[-9:])


def test_full_disk_keeps_the_earlier_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tiny(), stream(), tmp_path, TrainOptions(**OPTIONS), stop_after=1)
    before = (tmp_path / "state.pt").read_bytes()

    def full(_: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainingStopped, match="No space left on device"):
        train(tiny(), stream(), tmp_path, TrainOptions(**OPTIONS), stop_after=2)
    assert (tmp_path / "state.pt").read_bytes() == before
    assert not (tmp_path / "state.pt.part").exists()


def test_corrupted_state_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_bytes(b"not a state")
    with pytest.raises(TrainingStopped, match=r"state\.pt: not a state of this model"):
        train(tiny(), stream(), tmp_path, TrainOptions(**OPTIONS))


def test_learns(tmp_path: Path) -> None:
    """Forty steps on a short repeated text leave well under the eight bits of a blind guess."""
    options = TrainOptions(**OPTIONS | {"patcher_steps": 40, "steps": 40})
    train(tiny(), stream(), tmp_path, options)
    found = losses(tmp_path)
    assert found[39][1] < 0.6 * found[0][1]
    assert found[-1][1] < 0.6 * found[40][1]
    saved = load_checkpoint(tmp_path / "checkpoint")
    cut = entropies(saved.patcher_logits(batch(stream(), options, "blt", 1))) > saved.config.threshold
    assert 2 < 1 / cut.float().mean().item() < 8


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 0.5), (1, 1.0), (2, 1.0), (6, 0.505), (10, 0.01)],
    ids=["warm", "top", "begin", "half", "end"],
)
def test_learning_rate(step: int, rate: float) -> None:
    assert learning_rate(step, 10, 2, 1.0) == pytest.approx(rate)


def tiny() -> BltConfig:
    return BltConfig(
        patcher=StackConfig(32, 1, 2, 2, 48, rope_theta=10000.0, window=16),
        encoder=StackConfig(32, 1, 2, 2, 48, window=32),
        latent=StackConfig(48, 1, 3, 3, 64),
        decoder=StackConfig(32, 1, 2, 2, 48, window=32),
        hash_group_sizes=[3, 5],
        hash_vocab=61,
    )


def stream() -> numpy.ndarray:
    text = "".join(f"const value{i % 7} = list[{i % 10}];\n" for i in range(60))
    return numpy.array([BOS] + [byte + 4 for byte in text.encode()] + [EOS], dtype=numpy.int16)


def losses(folder: Path) -> list[tuple[tuple[str, int], float]]:
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [((record["phase"], record["step"]), record["loss"]) for record in records if "loss" in record]
