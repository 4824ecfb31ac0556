"""Trains a plain BLT on one machine: first its patcher, then, with that patcher's patches, the rest.

    python pretraining/train_plain.py --shape tiny --out .cache/train/tiny --patcher-steps 400 --steps 1500

Phase `patcher` teaches the entropy model the next id; the threshold is then set for a wanted mean patch length; phase
`blt` trains everything else on the same loss. The batch of a step depends only on (seed, phase, step), so an
interrupted run goes on from its last state with the losses it would have had. A loss that is not finite stops the run
and leaves the last good state. Log lines go to OUT/log.jsonl, the state to OUT/state.pt, the model to OUT/checkpoint.
"""

import argparse
import json
import math
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
import torch.nn.functional as F
from torch import Tensor

from checkpoint import save_checkpoint
from config import BltConfig, StackConfig
from model import BOS, Blt, entropies
from text_stream import read_ids
from training_run import TrainingStopped, write_state

PHASES = ("patcher", "blt")


@dataclass
class TrainOptions:
    """`length` ids a row, `rows` rows a step, `patch_length` wanted bytes a patch, `save_seconds` between states."""

    patcher_steps: int
    steps: int
    length: int = 2048
    rows: int = 2
    patcher_lr: float = 4e-3
    lr: float = 3e-3
    warmup: int = 50
    weight_decay: float = 0.1
    clip: float = 1.0
    patch_length: float = 4.0
    seed: int = 1
    save_seconds: float = 180.0
    log_every: int = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", default=[Path(".cache/data/train.bin")])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shape", choices=sorted(SHAPES), default="tiny")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--stop-after", type=int, help="stop after this many steps in all (to resume later)")
    for name, default in vars(TrainOptions(patcher_steps=400, steps=1500)).items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(default), default=default)
    args = vars(parser.parse_args())
    data, out, shape, threads, stop = (args.pop(name) for name in ("data", "out", "shape", "threads", "stop_after"))
    torch.set_num_threads(threads)
    try:
        train(SHAPES[shape](), read_ids(data), out, TrainOptions(**args), stop)
    except TrainingStopped as stopped:
        raise SystemExit(f"error: {stopped}") from None


def tiny() -> BltConfig:
    """The stand-in model: 5 million parameters, 10 MB at 16 bit."""
    local = StackConfig(96, 1, 3, 3, 256, window=256)
    return BltConfig(
        patcher=StackConfig(128, 2, 2, 2, 384, rope_theta=10000.0, window=64),
        encoder=local,
        latent=StackConfig(192, 4, 3, 3, 512, max_positions=4096),
        decoder=StackConfig(96, 2, 3, 3, 256, window=256),
        hash_vocab=4096,
    )


SHAPES: dict[str, Callable[[], BltConfig]] = {"tiny": tiny}


def train(
    config: BltConfig, ids: numpy.ndarray, out: Path, options: TrainOptions, stop_after: int | None = None
) -> Blt:
    """Trains to the end, or from the state in `out`; stops early after `stop_after` steps of both phases together."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    model = Blt(config)
    run = _Run(model, ids, out, options)
    run.resume()
    for phase in PHASES[PHASES.index(run.phase) :]:
        if not run.run_phase(phase, stop_after):
            return model
        if phase == "patcher":
            config.threshold = calibrate(model, ids, options)
            run.log({"phase": "calibrate", "threshold": config.threshold, "patch_length": options.patch_length})
            run.begin("blt")
    save_checkpoint(model.eval(), out / "checkpoint")
    return model


def batch(ids: numpy.ndarray, options: TrainOptions, phase: str, step: int) -> Tensor:
    """[rows, length + 1] ids of a step: BOS and a slice of the stream; the same for the same seed, phase and step."""
    order = numpy.random.default_rng([options.seed, PHASES.index(phase), step])
    firsts = order.integers(0, len(ids) - options.length, options.rows)
    rows = [numpy.concatenate([[BOS], ids[first : first + options.length]]) for first in firsts]
    return torch.from_numpy(numpy.stack(rows).astype(numpy.int64))


def learning_rate(step: int, steps: int, warmup: int, top: float) -> float:
    """Linear warm-up, then a cosine down to a hundredth."""
    if step < warmup:
        return top * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return top * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def calibrate(model: Blt, ids: numpy.ndarray, options: TrainOptions, batches: int = 16) -> float:
    """Threshold in nats at which patches of training text are `patch_length` bytes long on average."""
    with torch.no_grad():
        values = [
            entropies(model.patcher_logits(batch(ids, options, "patcher", -1 - i + 2**31))) for i in range(batches)
        ]
    return float(torch.cat(values).flatten().quantile(1 - 1 / options.patch_length))


class _Run:
    """Where a training stands: phase, step, weights, optimiser."""

    def __init__(self, model: Blt, ids: numpy.ndarray, out: Path, options: TrainOptions):
        self.model, self.ids, self.out, self.options = model, ids, out, options
        self.total = {"patcher": options.patcher_steps, "blt": options.steps}
        self.seconds = 0.0
        self.begin("patcher")

    def begin(self, phase: str) -> None:
        self.phase, self.step = phase, 0
        self.optimizer = self._optimizer()

    def run_phase(self, phase: str, stop_after: int | None) -> bool:
        """True when the phase is complete. A state is saved only once its weights have given a finite loss."""
        saved, begun = time.monotonic(), time.monotonic() - self.seconds
        done_before = 0 if phase == "patcher" else self.total["patcher"]
        while self.step < self.total[phase]:
            record = self._gradients(phase)
            stops = stop_after is not None and done_before + self.step >= stop_after
            if stops or time.monotonic() - saved >= self.options.save_seconds:
                self.save()
                saved = time.monotonic()
            if stops:
                return False
            self.optimizer.step()
            self.step += 1
            self.seconds = time.monotonic() - begun
            if self.step % self.options.log_every == 0 or self.step == self.total[phase]:
                self.log(record | {"seconds": round(self.seconds, 1)})
        self._gradients(phase)
        self.save()
        return True

    def _gradients(self, phase: str) -> dict:
        """Loss and clipped gradients of the next step; the step itself is left to the caller."""
        options = self.options
        top = options.patcher_lr if phase == "patcher" else options.lr
        rate = learning_rate(self.step, self.total[phase], options.warmup, top)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        rows = batch(self.ids, options, phase, self.step)
        x, y = rows[:, :-1], rows[:, 1:]
        logits = self.model.patcher_logits(x) if phase == "patcher" else self.model(x)
        loss = F.cross_entropy(logits.flatten(0, 1), y.flatten())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self._parameters(), options.clip)
        if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
            raise TrainingStopped(
                f"loss {loss.item()}, gradient norm {norm.item()} in phase {phase} at step {self.step}; "
                f"the last good state is kept in {self.out / 'state.pt'}: go on from it with a lower rate"
            )
        return {
            "phase": phase,
            "step": self.step + 1,
            "loss": loss.item(),
            "bpb": round(loss.item() / math.log(2), 4),
            "lr": round(rate, 7),
            "grad_norm": round(norm.item(), 3),
        }

    def _parameters(self) -> list[torch.nn.Parameter]:
        patcher = set(map(id, self.model.model.patcher.parameters())) if self.model.model.patcher else set()
        return [p for p in self.model.parameters() if (id(p) in patcher) == (self.phase == "patcher")]

    def _optimizer(self) -> torch.optim.AdamW:
        """Weight decay on matrices only: an embedding row or a norm is not shrunk for not being used."""
        tables = {id(module.weight) for module in self.model.modules() if isinstance(module, torch.nn.Embedding)}
        decayed, kept = [], []
        for parameter in self._parameters():
            (decayed if parameter.ndim == 2 and id(parameter) not in tables else kept).append(parameter)
        groups = [{"params": decayed, "weight_decay": self.options.weight_decay}, {"params": kept, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=self.options.lr, betas=(0.9, 0.95), eps=1e-8, fused=True)

    def save(self) -> None:
        state = {"phase": self.phase, "step": self.step, "seconds": self.seconds, "model": self.model.state_dict()}
        state |= {"optimizer": self.optimizer.state_dict(), "threshold": self.model.config.threshold}
        write_state(self.out, state)

    def resume(self) -> None:
        path = self.out / "state.pt"
        if not path.exists():
            return
        try:
            state = torch.load(path, weights_only=True)
            self.begin(state["phase"])
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, KeyError, EOFError, ValueError, pickle.UnpicklingError) as error:
            raise TrainingStopped(f"{path}: not a state of this model; remove it to start anew") from error
        self.step, self.seconds = state["step"], state["seconds"]
        self.model.config.threshold = state["threshold"]

    def log(self, record: dict) -> None:
        with (self.out / "log.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
