"""Trains the entropy patcher: a plain byte transformer with a short window, in the HF BLT patcher's form.

    python pretraining/train_patcher.py --checkpoint models/default --rows-file .cache/rows/train.npy \\
        --validation-file .cache/rows/validation.npy --out .cache/train/patcher --minutes 60

OUT/patcher.safetensors holds the average of the weights over the last steps (`--average`). With `--taught-minutes` it is
then trained on, and its entropy taught to rise where a latent step pays: where a piece of the lexicon starts next the
target is `--keep` true byte + the rest uniform over the 260 ids (OUT/taught/patcher.safetensors). Of both the bits per
byte of held-out rows and the table of thresholds are printed and written to scores.json beside them. On a GPU
(`--device cuda`) a step takes many more windows: `--rows 128 --length 1024 --warmup 200`.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from config import StackConfig
from model import Patcher, documents_of, entropies
from patch_table import patch_table
from piece_stream import PieceStream, read_rows, stream_of
from pieces import load_lexicon
from text_stream import BYTE_OFFSET
from training_run import Run, Schedule, add_run_arguments, optimizers_of, save_tensors, start

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
        self.begin_at(self.patcher)
        self.decay = decay

    def begin_at(self, patcher: Patcher) -> None:
        """Both become what `patcher` is."""
        state = patcher.state_dict()
        self.patcher.load_state_dict(state)
        self.average.load_state_dict(state)

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Moves the average towards the weights; early on it forgets faster."""
        decay = min(self.decay, (step + 1) / (step + 10))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.patcher.parameters()), 1 - decay)


def logits_of(patcher: Patcher, ids: Tensor) -> Tensor:
    """ids [B, T] -> next-id logits [B, T, 260]; nothing is seen across the end of a document."""
    x = patcher.run(patcher.embed_tokens(ids), patcher.config.window, documents_of(ids))
    return patcher.lm_head(patcher.norm(x))


def taught_loss(logits: Tensor, targets: Tensor, starts: Tensor, keep: float) -> tuple[Tensor, Tensor]:
    """Loss with the taught target where `starts` [B, T], and the true ids' own mean loss (nats)."""
    log_p = F.log_softmax(logits.float(), dim=-1)
    true = -log_p.gather(-1, targets[..., None])[..., 0]
    uniform = -log_p.mean(-1)
    mixed = torch.where(starts, keep * true + (1 - keep) * uniform, true)
    return mixed.mean(), true.detach().mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("models/default"), help="whose lexicon the rows are in")
    parser.add_argument("--rows-file", type=Path, required=True)
    parser.add_argument("--validation-file", type=Path, required=True)
    parser.add_argument("--validation-rows", type=int, default=64)
    parser.add_argument("--keep", type=float, default=0.4)
    parser.add_argument("--shape", choices=sorted(SHAPES), default="w192x4")
    parser.add_argument("--from", dest="start", type=Path, help="a patcher.safetensors to start from")
    parser.add_argument("--rows", type=int, default=8, help="windows a step")
    parser.add_argument("--length", type=int, default=512, help="bytes of a window")
    parser.add_argument("--matrix-lr", type=float, default=0.01)
    parser.add_argument("--lr", type=float, default=0.006)
    parser.add_argument("--warmup", type=int, default=100)
    parser.add_argument("--average", type=float, default=0.995)
    parser.add_argument("--taught-minutes", type=float, default=0.0, help="of teaching after --minutes without")
    parser.add_argument("--taught-rate", type=float, default=0.3, help="learning rates there, as a share of those before")
    add_run_arguments(parser, minutes=60)
    start(train, parser.parse_args())


def train(args: argparse.Namespace) -> TrainedPatcher:
    """Both phases, the second once the first is complete; returns what the last one made."""
    begun = time.monotonic()
    lexicon = load_lexicon(args.checkpoint)
    stream = stream_of(read_rows(args.rows_file), lexicon, args.device)
    held_out = stream_of(read_rows(args.validation_file, args.validation_rows), lexicon, args.device)
    torch.manual_seed(args.seed)
    model = TrainedPatcher(SHAPES[args.shape], args.average).to(args.device)
    if args.start:
        load_patcher(model.patcher, args.start)
        model.begin_at(model.patcher)
    is_fast = args.device != "cpu"

    def loss_of_ids(ids: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
        return taught_loss(logits_of(model.patcher, ids[:, :-1]), ids[:, 1:], starts, args.keep)

    compiled = torch.compile(loss_of_ids, dynamic=False) if is_fast else loss_of_ids
    phases = [(args.out, False, args.minutes)] if args.minutes else []
    phases += [(args.out / "taught", True, args.taught_minutes)] if args.taught_minutes else []
    for out, is_taught, minutes in phases:

        def loss_of(step: int, is_taught: bool = is_taught) -> tuple[Tensor, dict]:
            places = stream.windows(args.rows, args.length, args.seed + is_taught, step)
            starts = stream.starts[places[:, 1:]] & is_taught
            with torch.autocast(args.device, torch.bfloat16, enabled=is_fast):
                loss, true = compiled(stream.ids[places].long(), starts)
            return loss, {"bpb": true / math.log(2)}

        share = args.taught_rate if is_taught else 1.0
        optimizers = optimizers_of(model.patcher, share * args.matrix_lr, share * args.lr)
        schedule = Schedule(args.steps, warmup=args.warmup, seconds=60 * minutes, log_every=args.log_every)
        gone = time.monotonic() - begun if is_fast else 0.0
        run = Run(model, optimizers, loss_of, out, schedule, model.follow, args.device, gone)
        run.resume()
        path = out / "patcher.safetensors"
        if not run.run(args.stop_after, lambda path=path: save_patcher(model.average, path)):
            break
        for line in scores_of(model.average, held_out, out):
            print(line, flush=True)
        model.begin_at(model.average)
        begun = time.monotonic()
    return model


def scores_of(patcher: Patcher, held_out: PieceStream, out: Path) -> Iterator[str]:
    """Lines: bits per byte of the rows (each from its first byte) and the table of thresholds; also OUT/scores.json."""
    nats, entropy, starts = read_held_out(patcher, held_out)
    bpb = float(nats.mean() / math.log(2))
    table = patch_table(entropy, starts)
    (out / "scores.json").write_text(json.dumps({"bytes": len(nats), "bpb": round(bpb, 4), "patches": table}, indent=1) + "\n")
    yield f"{out / 'patcher.safetensors'}: {bpb:.4f} bpb on {len(nats)} held-out bytes"
    yield from table


@torch.no_grad()
def read_held_out(patcher: Patcher, held_out: PieceStream) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Of each byte but the rows' first: nats of it, entropy in nats before it, whether a piece starts at it; fp32."""
    found: list[list[Tensor]] = []
    for begin, end in zip(held_out.first[:-1].tolist(), held_out.first[1:].tolist(), strict=True):
        ids = held_out.ids[begin:end].long()[None]
        logits = logits_of(patcher, ids[:, :-1])[0]
        nats = F.cross_entropy(logits, ids[0, 1:], reduction="none")
        is_byte = ids[0, 1:] >= BYTE_OFFSET
        found.append([each[is_byte] for each in (nats, entropies(logits), held_out.starts[begin + 1 : end])])
    nats, entropy, starts = (torch.cat(each).cpu().numpy() for each in zip(*found, strict=True))
    return nats, entropy, starts


def save_patcher(patcher: Patcher, path: Path) -> None:
    save_tensors({f"model.patcher.{name}": tensor.contiguous() for name, tensor in patcher.state_dict().items()}, path)


def load_patcher(patcher: Patcher, path: Path) -> None:
    tensors = {name.removeprefix("model.patcher."): tensor.float() for name, tensor in load_file(path).items()}
    patcher.load_state_dict(tensors)


if __name__ == "__main__":
    main()
