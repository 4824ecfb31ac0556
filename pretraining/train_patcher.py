"""Trains the entropy patcher: a plain byte transformer with a short window, in the HF BLT patcher's form.

    python pretraining/train_patcher.py --out .cache/train/patcher --minutes 60

With `--starts FILE` (a bit a byte of the training text, see piece_starts.py) its entropy is taught to rise where a
latent step pays: where a piece of the lexicon starts next the target is `--keep` true byte + the rest uniform over the
260 ids. OUT/patcher.safetensors holds the average of the weights over the last steps (`--average`).
"""

import argparse
import os
from pathlib import Path

import numpy
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from config import StackConfig
from model import Patcher, documents_of
from text_stream import first_of_rows, read_ids, rows_of
from training_run import Run, Schedule, add_run_arguments, optimizers_of, start

SHAPES = {
    "w192x4": StackConfig(192, 4, 6, 6, 512, rope_theta=10000.0, window=64),
    "w224x3": StackConfig(224, 3, 7, 7, 608, rope_theta=10000.0, window=85),
    "w256x3": StackConfig(256, 3, 8, 8, 688, rope_theta=10000.0, window=85),
    "w256x4": StackConfig(256, 4, 8, 8, 688, rope_theta=10000.0, window=64),
    "test": StackConfig(16, 2, 2, 2, 32, rope_theta=10000.0, window=8),
}


class TrainedPatcher(nn.Module):
    """The patcher and the running average of its weights."""

    def __init__(self, config: StackConfig, decay: float):
        super().__init__()
        self.patcher = Patcher(config, 260)
        self.average = Patcher(config, 260).requires_grad_(False)
        self.average.load_state_dict(self.patcher.state_dict())
        self.decay = decay

    def follow(self, step: int) -> None:
        """Moves the average towards the weights; early on it forgets faster."""
        decay = min(self.decay, (step + 1) / (step + 10))
        with torch.no_grad():
            for kept, current in zip(self.average.parameters(), self.patcher.parameters(), strict=True):
                kept.lerp_(current, 1 - decay)


def logits_of(patcher: Patcher, ids: Tensor) -> Tensor:
    """ids [B, T] -> next-id logits [B, T, 260]; nothing is seen across the end of a document."""
    x = patcher.run(patcher.embed_tokens(ids), patcher.config.window, documents_of(ids))
    return patcher.lm_head(patcher.norm(x))


def taught_loss(logits: Tensor, targets: Tensor, starts: Tensor | None, keep: float) -> tuple[Tensor, Tensor]:
    """Loss with the taught target, and the true ids' own mean loss (nats)."""
    log_p = F.log_softmax(logits, dim=-1)
    true = -log_p.gather(-1, targets[..., None])[..., 0]
    if starts is None:
        return true.mean(), true.detach().mean()
    uniform = -log_p.mean(-1)
    mixed = torch.where(starts, keep * true + (1 - keep) * uniform, true)
    return mixed.mean(), true.detach().mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", default=[Path(".cache/data/train.bin")])
    parser.add_argument("--starts", type=Path)
    parser.add_argument("--keep", type=float, default=0.4)
    parser.add_argument("--shape", choices=sorted(SHAPES), default="w192x4")
    parser.add_argument("--from", dest="start", type=Path, help="a patcher.safetensors to start from")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--matrix-lr", type=float, default=0.01)
    parser.add_argument("--lr", type=float, default=0.006)
    parser.add_argument("--warmup", type=int, default=100)
    parser.add_argument("--average", type=float, default=0.995)
    add_run_arguments(parser, minutes=60)
    start(train, parser.parse_args())


def train(args: argparse.Namespace) -> TrainedPatcher:
    ids = read_ids(args.data)
    starts = None if args.starts is None else numpy.unpackbits(numpy.fromfile(args.starts, numpy.uint8))
    if starts is not None and not 0 <= len(starts) - len(ids) < 8:
        raise SystemExit(f"error: {args.starts} is not of this text; make it again with piece_starts.py")
    torch.manual_seed(args.seed)
    model = TrainedPatcher(SHAPES[args.shape], args.average)
    if args.start:
        load_patcher(model.patcher, args.start)
        model.average.load_state_dict(model.patcher.state_dict())

    def loss_of(step: int) -> tuple[Tensor, dict]:
        firsts = first_of_rows(len(ids), args.length, args.rows, args.seed, step)
        rows = rows_of(ids, firsts, args.length)
        marks = None if starts is None else rows_of(starts, firsts, args.length)[:, 1:].bool()
        loss, true = taught_loss(logits_of(model.patcher, rows[:, :-1]), rows[:, 1:], marks, args.keep)
        return loss, {"bpb": round(true.item() * 1.442695, 4)}

    schedule = Schedule(args.steps, warmup=args.warmup, seconds=60 * args.minutes, log_every=args.log_every)
    run = Run(model, optimizers_of(model, args.matrix_lr, args.lr), loss_of, args.out, schedule, model.follow)
    run.resume()
    run.run(args.stop_after, lambda: save_patcher(model.average, args.out / "patcher.safetensors"))
    return model


def save_patcher(patcher: Patcher, path: Path) -> None:
    partial = path.with_name(path.name + ".part")
    save_file({f"model.patcher.{name}": tensor.contiguous() for name, tensor in patcher.state_dict().items()}, partial)
    os.replace(partial, path)


def load_patcher(patcher: Patcher, path: Path) -> None:
    tensors = {name.removeprefix("model.patcher."): tensor.float() for name, tensor in load_file(path).items()}
    patcher.load_state_dict(tensors)


if __name__ == "__main__":
    main()
