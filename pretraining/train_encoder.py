"""Trains a BLT encoder's residual on the piece embeddings of a lexicon model (`piece_encoder.py`); the latent stays as it is.

    python pretraining/train_encoder.py models/default --rows .cache/rows/rows.npy --validation .cache/rows/validation.npy \\
        --latent latent.pt --out OUT --device cuda --compile --minutes 1

So what the validation rows' bits fall by is the residual's own doing. OUT/encoder.safetensors (fp16), OUT/encoder.json.
Minutes are of the clock, compilation included.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
from torch import Tensor

from add_patcher import stored_patcher
from byte_places import PieceBytes
from draft_layer import save_module
from frozen_latent import add_latent_arguments, frozen_latent
from grown import grown_config
from latent_reference import load_latent
from latent_training import FastLatent, piece_loss
from piece_encoder import PieceEncoder, bytes_of_rows
from piece_stream import drawn_rows, load_rows, step_chance
from pieces import load_lexicon
from training_run import Run, Schedule, add_run_arguments, optimizers_of, start

# Ids that are read of a row, per piece: more than most rows have.
IDS_A_PIECE = 4


class Residual(torch.nn.Module):
    """The encoder in front of a frozen latent."""

    def __init__(self, encoder: PieceEncoder, latent: FastLatent, table: PieceBytes):
        super().__init__()
        self.encoder = encoder
        self.latent, self.table = latent, table

    def nats(self, rows: Tensor, with_encoder: bool = True) -> tuple[Tensor, Tensor]:
        """rows [B, T] -> the sum of nats of the pieces that count, and those pieces [N]."""
        ids, own, whole = bytes_of_rows(rows, self.table, IDS_A_PIECE * rows.shape[1])
        added = self.encoder(ids, own, rows.shape[1]) if with_encoder else None
        hidden = self.latent.hidden(rows, added)
        targets = torch.where(whole[:, 1:], rows[:, 1:], -1).flatten()
        return piece_loss(hidden[:, :-1].flatten(0, 1), self.latent.embedding, targets), targets[targets >= 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_latent_arguments(parser)
    parser.add_argument("--hash-vocab", type=int, default=8192)
    parser.add_argument("--matrix-lr", type=float, default=0.01)
    parser.add_argument("--lr", type=float, default=0.003)
    add_run_arguments(parser, minutes=1)
    start(train, parser.parse_args())


def train(args: argparse.Namespace) -> dict:
    """Trains, writes, and returns the held-out bits a byte without and with the encoder."""
    begun = time.monotonic()
    torch.manual_seed(args.seed)
    is_fast = args.device != "cpu"
    base = load_latent(args.checkpoint)
    latent = frozen_latent(args, base)
    if args.compile:
        latent.trained_layer = torch.compile(latent.layer, dynamic=False)
    patcher, lexicon = stored_patcher(args.checkpoint), load_lexicon(args.checkpoint)
    encoder = PieceEncoder(grown_config(base, patcher.config, 1.0, args.hash_vocab))
    encoder.begin_from(patcher)
    residual = Residual(encoder.to(args.device), latent, PieceBytes.of(lexicon, args.device))
    rows, held_out = load_rows(args.rows).to(args.device), load_rows(args.validation, args.validation_rows).to(args.device)

    def loss_of(step: int) -> tuple[Tensor, dict]:
        batch = drawn_rows(rows, args.batch, step_chance(args.device, args.seed, step))
        with torch.autocast(args.device, torch.bfloat16, enabled=is_fast):
            nats, pieces = residual.nats(batch)
        return nats / len(pieces), {}

    schedule = Schedule(args.steps, warmup=20, seconds=60 * args.minutes, warmdown=0.6, log_every=args.log_every)
    gone = time.monotonic() - begun if is_fast else 0.0
    run = Run(encoder, optimizers_of(encoder, args.matrix_lr, args.lr), loss_of, args.out, schedule, device=args.device, seconds=gone)
    run.resume()
    measured = {}
    if run.run(args.stop_after):
        save_module(encoder, args.out / "encoder.safetensors")
        measured = {"steps": run.step, "rows_a_step": args.batch}
        measured |= {name: measure(residual, held_out, args.batch, is_fast, name == "with") for name in ("without", "with")}
        (args.out / "encoder.json").write_text(json.dumps(measured) + "\n")
        print(measured, flush=True)
    return measured


@torch.no_grad()
def measure(residual: Residual, rows: Tensor, batch: int, is_fast: bool, with_encoder: bool) -> float:
    """Bits a byte of the pieces of the rows."""
    nats, size = 0.0, 0
    for group in rows.long().split(batch):
        with torch.autocast(group.device.type, torch.bfloat16, enabled=is_fast):
            part, pieces = residual.nats(group, with_encoder)
        nats, size = nats + part.item(), size + residual.table.lengths[pieces].sum().item()
    return round(nats / size / math.log(2), 4)


if __name__ == "__main__":
    main()
