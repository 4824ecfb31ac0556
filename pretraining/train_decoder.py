"""Trains the local decoder of a lexicon model on latents that `cache_latents.py` has kept.

    python pretraining/train_decoder.py models/default .cache/train/latents/train --out .cache/train/decoder --minutes 20

Each place in a text is shown with the latent as it was some pieces ago (`--lags`: how often one, two, ... pieces): that
is what the decoder has when latent steps are left out. The patcher's weights stay; its states are computed once.
OUT/decoder.safetensors holds the average of the weights over the last steps.
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from add_patcher import stored_patcher
from cache_latents import CachedText, load_all
from config import StackConfig
from decoder import Decoder, patcher_states, save_decoder
from model import BOS, Patcher
from pieces import load_lexicon
from text_stream import BYTE_OFFSET
from train_patcher import load_patcher
from training_run import Run, Schedule, add_run_arguments, optimizers_of, start

SHAPES = {
    "w192x3": StackConfig(192, 3, 6, 6, 512),
    "w192x2": StackConfig(192, 2, 6, 6, 384),
    "test": StackConfig(16, 2, 2, 2, 32),
}


@dataclass
class Places:
    """Every byte of the cached texts, n in all: what comes next and where its states lie.

    `newest` [n]: the row of the last latent whose pieces have ended before the byte; `first` [n]: the row of its text's
    first latent; `ends` [rows]: byte of the stream at which a latent's pieces end.
    """

    targets: Tensor
    states: Tensor
    newest: numpy.ndarray
    first: numpy.ndarray
    latents: Tensor
    ends: numpy.ndarray

    def sample(self, chosen: numpy.ndarray, lags: numpy.ndarray) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Patcher states, latents, offsets and targets of places with latents that are `lags` pieces old."""
        row = numpy.maximum(self.newest[chosen] - lags, self.first[chosen])
        offset = torch.from_numpy(chosen - self.ends[row])
        return self.states[chosen].float(), self.latents[row].float(), offset, self.targets[chosen]


class TrainedDecoder(nn.Module):
    """The decoder and the running average of its weights."""

    def __init__(self, decoder: Decoder, average: Decoder, decay: float):
        super().__init__()
        self.decoder, self.average, self.decay = decoder, average.requires_grad_(False), decay
        average.load_state_dict(decoder.state_dict())

    def follow(self, step: int) -> None:
        decay = min(self.decay, (step + 1) / (step + 10))
        with torch.no_grad():
            for kept, current in zip(self.average.parameters(), self.decoder.parameters(), strict=True):
                kept.lerp_(current, 1 - decay)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("latents", type=Path)
    parser.add_argument("--validation", type=Path, help="latents of held-out texts, scored at the end")
    parser.add_argument("--patcher", type=Path, help="a patcher.safetensors of the checkpoint's shape; else its own")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="w192x3")
    parser.add_argument("--vectors", type=int, default=4)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--lags", type=float, nargs="+", default=[0.55, 0.25, 0.12, 0.08])
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--matrix-lr", type=float, default=0.005)
    parser.add_argument("--lr", type=float, default=0.002)
    parser.add_argument("--average", type=float, default=0.99)
    add_run_arguments(parser, minutes=20)
    start(train, parser.parse_args())


def train(args: argparse.Namespace) -> Decoder:
    lexicon = load_lexicon(args.checkpoint)
    patcher = stored_patcher(args.checkpoint)
    if args.patcher:
        load_patcher(patcher, args.patcher)
    places = places_of(patcher, load_all(args.latents, lexicon))
    torch.manual_seed(args.seed)
    shape, width = SHAPES[args.shape], places.latents.shape[1]
    decoder = Decoder(shape, width, args.vectors, args.dropout)
    decoder.begin_from(patcher)
    model = TrainedDecoder(decoder, Decoder(shape, width, args.vectors), args.average)
    lags = numpy.array(args.lags) / sum(args.lags)

    def loss_of(step: int) -> tuple[Tensor, dict]:
        chance = numpy.random.default_rng([args.seed, step])
        torch.manual_seed(args.seed * 1_000_003 + step)  # the dropout of a step, whether resumed or not
        chosen = chance.integers(0, len(places.targets), args.rows)
        y, z, offset, target = places.sample(chosen, 1 + chance.choice(len(lags), args.rows, p=lags))
        loss = F.cross_entropy(decoder(y, z, offset), target)
        return loss, {"bpb": round(loss.item() / math.log(2), 4)}

    schedule = Schedule(args.steps, warmup=50, seconds=60 * args.minutes, log_every=args.log_every)
    run = Run(model, optimizers_of(model, args.matrix_lr, args.lr), loss_of, args.out, schedule, model.follow)
    run.resume()
    finished = run.run(args.stop_after, lambda: save_decoder(model.average, args.out / "decoder.safetensors"))
    if finished and args.validation:
        held_out = places_of(patcher, load_all(args.validation, lexicon))
        print(f"held out: patcher alone {patcher_bits(patcher, held_out):.4f} bpb")
        for lag in range(1, 5):
            print(f"held out, latent {lag} pieces old: {decoder_bits(model.average.eval(), held_out, lag):.4f} bpb")
    return model.average.eval()


def places_of(patcher: Patcher, texts: list[CachedText]) -> Places:
    targets, states, newest, first, latents, ends = [], [], [], [], [], []
    before, rows = 0, 0
    for cached in texts:
        size = len(cached.text)
        ids = torch.tensor([[BOS, *(byte + BYTE_OFFSET for byte in cached.text)]])
        with torch.no_grad():
            states.append(patcher_states(patcher, ids)[0, :size].half())
        targets.append(ids[0, 1:])
        ended = numpy.append(cached.starts, size)
        newest.append(rows + numpy.searchsorted(ended, numpy.arange(size), side="right") - 1)
        first.append(numpy.full(size, rows))
        latents.append(cached.states.half())
        ends.append(before + ended)
        before, rows = before + size, rows + len(ended)
    return Places(
        torch.cat(targets),
        torch.cat(states),
        numpy.concatenate(newest),
        numpy.concatenate(first),
        torch.cat(latents),
        numpy.concatenate(ends),
    )


def decoder_bits(decoder: Decoder, places: Places, lag: int, batch: int = 4096) -> float:
    """Mean bits of a byte with latents that are `lag` pieces old."""
    nats = 0.0
    with torch.no_grad():
        for at in range(0, len(places.targets), batch):
            chosen = numpy.arange(at, min(at + batch, len(places.targets)))
            y, z, offset, target = places.sample(chosen, numpy.full(len(chosen), lag))
            nats += F.cross_entropy(decoder(y, z, offset), target, reduction="sum").item()
    return nats / len(places.targets) / math.log(2)


def patcher_bits(patcher: Patcher, places: Places) -> float:
    with torch.no_grad():
        logits = patcher.lm_head(patcher.norm(places.states.float()))
        return F.cross_entropy(logits, places.targets).item() / math.log(2)


if __name__ == "__main__":
    main()
