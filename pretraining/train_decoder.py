"""Trains the local decoder of a lexicon model (`decoder.py`): bytes after a latent that has gone stale.

    python pretraining/train_decoder.py models/default --rows .cache/rows/rows.npy --validation .cache/rows/validation.npy \\
        --latent latent.pt --patcher patcher.safetensors --patcher-shape w192x4 --out OUT --device cuda --compile --minutes 1.7

The frozen latent reads rows of pieces as training goes on; the local decoder learns the text's bytes with latents that are 1, 2, ...
pieces old (`--lags`: how often each). Minutes are of the clock; a first step that is thrown away, compilation, and validation at
the end come on top, on a large GPU about half a minute.
OUT/decoder.safetensors holds the weights in fp16, OUT/decoder.json what was measured on the validation rows.
"""

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from add_patcher import stored_patcher
from byte_places import BytePlaces, PieceBytes
from decoder import Decoder, decoder_shape, patcher_states
from draft_layer import save_module
from frozen_latent import add_latent_arguments, frozen_latent
from latent_training import FastLatent
from model import Patcher
from piece_stream import drawn_rows, load_rows, step_chance
from pieces import load_lexicon
from right_in_a_row import RightInARow
from train_patcher import SHAPES as PATCHER_SHAPES
from train_patcher import load_patcher
from training_run import Run, Schedule, add_run_arguments, optimizers_of, start

LN2 = math.log(2)


@dataclass
class Sources:
    """What does not learn, and the texts."""

    latent: FastLatent
    patcher: Patcher
    bytes: PieceBytes
    device: torch.device

    def states(self, rows: Tensor) -> Tensor:
        """The latent's states after each piece, [B, T, E]."""
        with torch.no_grad():
            return self.latent.hidden(rows)

    def byte_states(self, ids: Tensor) -> Tensor:
        with torch.no_grad(), self.autocast():
            return patcher_states(self.patcher, ids)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_latent_arguments(parser)
    parser.add_argument("--patcher", type=Path, help="a patcher.safetensors; else the checkpoint's")
    parser.add_argument("--patcher-shape", choices=sorted(PATCHER_SHAPES), default="w192x4")
    parser.add_argument("--byte-rows", type=int, default=4, help="rows of a step; --batch is how many are measured together")
    parser.add_argument("--decoder-layers", type=int, default=3)
    parser.add_argument("--vectors", type=int, default=4)
    parser.add_argument("--lags", type=float, nargs="+", default=[0.4, 0.25, 0.15, 0.1, 0.06, 0.04])
    parser.add_argument("--matrix-lr", type=float, default=0.01)
    parser.add_argument("--lr", type=float, default=0.003)
    add_run_arguments(parser, minutes=1.7)
    start(train, parser.parse_args())


def train(args: argparse.Namespace) -> dict:
    """Trains, writes, and returns what was measured."""
    torch.manual_seed(args.seed)
    rows = load_rows(args.rows)
    sources = load_sources(args)
    rows = rows.to(sources.device)
    shape = decoder_shape(sources.patcher.config, args.decoder_layers)
    decoder = Decoder(shape, sources.latent.config.hidden_size, args.vectors).to(sources.device)
    decoder.begin_from(sources.patcher)
    lags = torch.tensor(args.lags, device=sources.device)

    def loss_of(step: int) -> tuple[Tensor, dict]:
        chance = step_chance(sources.device, args.seed, step)
        batch = drawn_rows(rows, args.byte_rows, chance)
        return decoder_step(sources, decoder, batch, sources.states(batch), lags, chance), {}

    # Kernels are chosen and caches filled before the clock runs.
    loss_of(0)[0].backward()
    decoder.zero_grad(set_to_none=True)
    schedule = Schedule(args.steps, warmup=20, warmdown=0.6, seconds=60 * args.minutes, save_seconds=30, log_every=args.log_every)
    run = Run(decoder, optimizers_of(decoder, args.matrix_lr, args.lr), loss_of, args.out, schedule, device=args.device)
    run.resume()
    measured: dict = {}
    if run.run(args.stop_after, on_save=lambda: save_module(decoder, args.out / "decoder.safetensors")):
        measured = measure(sources, decoder, load_rows(args.validation, args.validation_rows), args.batch)
        (args.out / "decoder.json").write_text(json.dumps(measured, indent=2) + "\n")
    return measured


def load_sources(args: argparse.Namespace) -> Sources:
    device = torch.device(args.device)
    lexicon = load_lexicon(args.checkpoint)
    latent = frozen_latent(args)
    if args.compile:
        latent.layer = torch.compile(latent.layer, dynamic=False)
    if args.patcher:
        patcher = Patcher(PATCHER_SHAPES[args.patcher_shape], 260)
        load_patcher(patcher, args.patcher)
    else:
        patcher = stored_patcher(args.checkpoint)
    return Sources(latent, patcher.to(device).eval(), PieceBytes.of(lexicon, device), device)


def decoder_step(
    sources: Sources, decoder: Decoder, rows: Tensor, states: Tensor, lags: Tensor, chance: torch.Generator
) -> Tensor:
    """Mean loss of the local decoder at all bytes of the rows, nats, each with a latent of random age."""
    places = byte_places(sources, rows)
    y = sources.byte_states(places.ids)[:, :-1]
    lag = 1 + torch.multinomial(lags, places.own.numel(), replacement=True, generator=chance).view_as(places.own)
    with sources.autocast():
        logits = decode(decoder, places, y, states, lag)
    loss = F.cross_entropy(logits.float().flatten(0, 1), places.target.flatten(), reduction="none")
    return (loss * places.counts.flatten()).sum() / places.counts.sum()


def byte_places(sources: Sources, rows: Tensor) -> BytePlaces:
    # About as many ids as such rows have: what lies beyond is left out.
    return BytePlaces.of(rows, sources.bytes, 3 * rows.shape[1])


def decode(decoder: Decoder, places: BytePlaces, y: Tensor, states: Tensor, lag: Tensor | int) -> Tensor:
    """Logits of each next id, [B, L - 1, 260]."""
    latent, since = places.latent_of(lag)
    row = torch.arange(len(states), device=states.device)[:, None]
    z = states[row, latent]
    return decoder(y.flatten(0, 1).float(), z.flatten(0, 1).float(), since.flatten()).unflatten(0, latent.shape)


@torch.no_grad()
def measure(sources: Sources, decoder: Decoder, rows: Tensor, batch: int, ages: int = 6) -> dict:
    """On held-out rows: bits a byte by the latent's age, and how many pieces of a draft are right in a row."""
    bits, patcher_bits, count = torch.zeros(ages + 1), 0.0, 0
    drafts = RightInARow(ages)
    for group in rows.to(sources.device).long().split(batch):
        states = sources.states(group)
        places = byte_places(sources, group)
        y = sources.byte_states(places.ids)[:, :-1]
        counts, count = places.counts.flatten(), count + places.counts.sum().item()

        def bits_of(logits: Tensor) -> float:
            nats = F.cross_entropy(logits.float().flatten(0, 1), places.target.flatten(), reduction="none")
            return (nats * counts).sum().item() / LN2

        patcher_bits += bits_of(sources.patcher.lm_head(sources.patcher.norm(y.float())))
        right = []
        for age in range(ages + 1):
            with sources.autocast():
                logits = decode(decoder, places, y, states, age)
            bits[age] += bits_of(logits)
            is_right = (logits.argmax(-1) == places.target).int()
            pieces = torch.ones(group.shape, dtype=torch.int, device=group.device)
            right.append(pieces.scatter_reduce(1, places.own, is_right, "amin").bool())
        # A latent after piece r drafts pieces r + 2, ... : as old as a draft layer's.
        last = int(places.own[:, -1].min())
        drafts.add([each[:, 2:last] for each in right[1:]])
    found = {
        "bytes": count,
        "patcher_bpb": round(patcher_bits / count, 4),
        "decoder_bpb_by_age": [round(each.item() / count, 4) for each in bits],
        "right_in_a_row_of_1_2_3_": drafts.means(),
        "right_at_age_0_1_2_": drafts.rates(),
    }
    print(json.dumps(found, indent=1), flush=True)
    return found


if __name__ == "__main__":
    main()
