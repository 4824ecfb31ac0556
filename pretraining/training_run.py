"""A training that can be interrupted: state on disk, the same losses after resuming, the last good state on NaN.

The batch of a step must depend on the step alone. Files in OUT: `state.pt` (weights, optimisers, step), `log.jsonl`
(one record every `log_every` steps). On a GPU a run lasts minutes by the clock on the wall: it keeps no state, and looks
at its losses only where it logs them, since each look waits for all that is queued.
"""

import argparse
import json
import math
import os
import pickle
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn


class TrainingStopped(Exception):
    """Training cannot go on; the last good state is on disk."""


def write_state(out: Path, state: dict) -> None:
    """Writes OUT/state.pt, whole or not at all."""
    partial = out / "state.pt.part"
    try:
        torch.save(state, partial)
        os.replace(partial, out / "state.pt")
    except (OSError, RuntimeError) as error:
        partial.unlink(missing_ok=True)
        raise TrainingStopped(f"{out}: the state could not be written ({error}); free some space") from error


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Writes a safetensors file, whole or not at all."""
    partial = path.with_name(path.name + ".part")
    try:
        save_file(tensors, partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@dataclass
class Schedule:
    """Learning rates are multiples of the optimisers' own: linear warm-up, then level, then linear to 0.02.

    `seconds`: when given, the length is that much processor time of the run, all threads together (on a GPU: time by
    the clock on the wall), and `steps` only an upper limit; the rate follows whichever of the two is further on. Time in
    which the process was paused or waited for a core is no training and does not count. A resumed run has the seconds
    it had.
    """

    steps: int
    warmup: int = 100
    warmdown: float = 0.5
    seconds: float = math.inf
    clip: float = 1.0
    save_seconds: float = 180.0
    log_every: int = 20

    def rate(self, step: int, seconds: float) -> float:
        done = max(step / self.steps, seconds / self.seconds)
        return min(1.0, (step + 1) / self.warmup) * min(1.0, max(0.02, (1 - done) / self.warmdown))

    def finished(self, step: int, seconds: float) -> bool:
        return step >= self.steps or seconds >= self.seconds


def add_run_arguments(parser: argparse.ArgumentParser, minutes: float, log_every: int = 20) -> None:
    """What every training takes on its command line: where its state goes, how long it goes on, its seed and threads."""
    parser.add_argument("--out", type=Path, required=True)
    help_text = "of processor time, all threads together; on a GPU by the clock on the wall, with loading and compiling"
    parser.add_argument("--minutes", type=float, default=minutes, help=help_text)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--steps", type=int, default=10**9)
    parser.add_argument("--log-every", type=int, default=log_every)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--stop-after", type=int, help="stop after this many steps in all (to resume later)")


def start(train: Callable[[argparse.Namespace], object], args: argparse.Namespace) -> None:
    """Trains, and says in one sentence why it cannot go on."""
    torch.set_num_threads(args.threads)
    if args.device == "cuda":
        if not torch.cuda.is_available():
            raise SystemExit("error: torch finds no CUDA device here; train with --device cpu")
        torch.backends.cuda.enable_cudnn_sdp(False)  # attention with a mask is left to the kernels made for it
        torch._dynamo.config.suppress_errors = True  # what cannot be compiled runs slowly, and says so
    try:
        train(args)
    except TrainingStopped as stopped:
        raise SystemExit(f"error: {stopped}") from None
    except FileNotFoundError as error:
        raise SystemExit(f"error: {error}") from None
    except (OSError, SafetensorError) as error:
        raise SystemExit(f"error: {error}; if the disk is full, free some space and start again") from None


class Run:
    """`loss_of(step)` gives the loss of a step and what else to log of it; `optimizers` have their own top rates."""

    def __init__(
        self,
        model: nn.Module,
        optimizers: list[torch.optim.Optimizer],
        loss_of: Callable[[int], tuple[Tensor, dict]],
        out: Path,
        schedule: Schedule,
        after_step: Callable[[int], None] = lambda step: None,
        device: str = "cpu",
        seconds: float = 0.0,
    ):
        """`seconds`: how much of the schedule's time is over before the first step."""
        self.model, self.optimizers, self.loss_of, self.out, self.schedule = model, optimizers, loss_of, out, schedule
        self.after_step = after_step
        self.tops = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
        self.step, self.seconds = 0, seconds
        self.is_fast = device != "cpu"
        self.clock = time.monotonic if self.is_fast else time.process_time
        out.mkdir(parents=True, exist_ok=True)

    def run(self, stop_after: int | None = None, on_save: Callable[[], None] = lambda: None) -> bool:
        """Trains on; True when the schedule is complete. A state is saved only after a finite loss of its weights."""
        saved, begun = time.monotonic(), self.clock() - self.seconds
        while not self.schedule.finished(self.step, self.seconds):
            record = self._gradients()
            if stop_after is not None and self.step >= stop_after:
                self.save()
                return False
            if time.monotonic() - saved >= self.schedule.save_seconds:
                self._check(record)
                self.save()
                on_save()
                saved = time.monotonic()
            for optimizer in self.optimizers:
                optimizer.step()
            self.after_step(self.step)
            self.step += 1
            self.seconds = self.clock() - begun
            if self.step % self.schedule.log_every == 0:
                self.log(record | {"seconds": round(self.seconds, 1)})
        self._check(self._gradients())
        self.save()
        on_save()
        return True

    def _gradients(self) -> dict:
        rate = self.schedule.rate(self.step, self.seconds)
        for optimizer, tops in zip(self.optimizers, self.tops, strict=True):
            for group, top in zip(optimizer.param_groups, tops, strict=True):
                group["lr"] = rate * top
            optimizer.zero_grad(set_to_none=True)
        loss, record = self.loss_of(self.step)
        record = {"step": self.step, "loss": loss.detach(), "rate": round(rate, 4)} | record
        if not self.is_fast:
            self._check(record)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.schedule.clip)
        return record

    def _check(self, record: dict) -> None:
        loss = record["loss"].item()
        if not math.isfinite(loss):
            raise TrainingStopped(f"the loss of step {record['step']} is {loss}; the last good state is in {self.out}")

    def save(self) -> None:
        if self.is_fast:
            return
        state = {"model": self.model.state_dict(), "step": self.step, "seconds": self.seconds}
        state["optimizers"] = [optimizer.state_dict() for optimizer in self.optimizers]
        write_state(self.out, state)

    def resume(self) -> None:
        """Goes on from OUT/state.pt, where there is one."""
        path = self.out / "state.pt"
        if not path.exists():
            return
        try:
            state = torch.load(path, weights_only=True)
            self.model.load_state_dict(state["model"])
            for optimizer, stored in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(stored)
            self.step, self.seconds = state["step"], state["seconds"]
        except (RuntimeError, KeyError, TypeError, EOFError, ValueError, pickle.UnpicklingError) as error:
            raise TrainingStopped(f"{path}: not a state of this model; remove it to start anew") from error

    def log(self, record: dict) -> None:
        self._check(record)
        numbers = {name: round(value.item(), 5) if isinstance(value, Tensor) else value for name, value in record.items()}
        with (self.out / "log.jsonl").open("a") as file:
            file.write(json.dumps(numbers) + "\n")
        if self.is_fast:
            print(json.dumps(numbers), flush=True)


class Muon(torch.optim.Optimizer):
    """Momentum whose step is made orthogonal (Jordan et al. 2024), scaled to the size of AdamW's steps.

    Matrices of one shape go through it together. torch's own computes in bfloat16 everywhere, which processors without such
    instructions emulate: 20 times slower than fp32.
    """

    def __init__(self, parameters: list[nn.Parameter], lr: float, momentum: float = 0.95):
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.shape].append(parameter)
            for shape, parameters in by_shape.items():
                gradients, momenta = [each.grad for each in parameters], [self._momentum(each) for each in parameters]
                torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
                ahead = torch._foreach_lerp(gradients, momenta, group["momentum"])
                steps = orthogonal(torch.stack(list(ahead)))
                rate = group["lr"] * 0.2 * max(shape) ** 0.5
                torch._foreach_add_(parameters, list(steps.unbind()), alpha=-rate)

    def _momentum(self, parameter: nn.Parameter) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        return state["momentum"]


def orthogonal(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Singular values of each [..., R, C] moved to about 1 by a quintic Newton-Schulz iteration."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    x = x.bfloat16() if x.is_cuda else x
    for _ in range(iterations):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return (x.mT if tall else x).to(matrices.dtype)


def optimizers_of(model: nn.Module, matrix_lr: float, other_lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside layers, AdamW for embeddings, heads and norms."""
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (matrices if parameter.ndim == 2 and "layers." in name else others).append(parameter)
    return [torch.optim.AdamW(others, other_lr, (0.9, 0.95), weight_decay=0.0, fused=True), Muon(matrices, matrix_lr)]
