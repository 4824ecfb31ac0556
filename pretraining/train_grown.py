"""Trains the plain form: a BLT with one vector a patch and no lexicon around the base's latent transformer (grown.py).

    python pretraining/train_grown.py models/default --out .cache/train/grown --minutes 60

First, without the latent and so cheaply (`--local-steps`), the encoder learns what the base is shown for a patch, while both
local networks stay a good byte model; then these and low-rank additions to the latent learn the next byte. The patcher stays. OUT/state.pt holds what is
trained; OUT/checkpoint, in the Hugging Face layout with the additions merged, is written at the end and by `--export`.
"""

import argparse
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from checkpoint import save_checkpoint
from grown import adapt, grow, merge, wanted_vectors
from model import Blt, _patch_documents, documents_of
from pieces import load_lexicon
from text_stream import first_of_rows, read_ids, rows_of
from training_run import Muon, Run, Schedule, add_run_arguments, start


class Grown(nn.Module):
    """The model in training; its state is what is trained, since the rest can be read from the base again."""

    def __init__(self, model: Blt, rank: int):
        super().__init__()
        self.blt = model.requires_grad_(True)
        model.model.patcher.requires_grad_(False)
        adapt(model.model.global_transformer, rank)

    def state_dict(self, *args: object, **kwargs: object) -> dict[str, Tensor]:
        trained = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        return {name: tensor for name, tensor in super().state_dict(*args, **kwargs).items() if name in trained}

    def load_state_dict(self, state: dict[str, Tensor], *args: object, **kwargs: object) -> None:
        if state.keys() != self.state_dict().keys():
            raise KeyError("not the state of this model")
        super().load_state_dict(state, strict=False)

    def optimizers(self, matrix_lr: float, lr: float, latent_lr: float) -> list[torch.optim.Optimizer]:
        """Muon for the matrices of encoder and decoder layers, AdamW for the rest and for the latent."""
        matrices, others, latent = [], [], []
        for name, parameter in self.named_parameters():
            if not parameter.requires_grad:
                continue
            if "global_transformer" in name:
                latent.append(parameter)
            else:
                (matrices if parameter.ndim == 2 and "layers." in name else others).append(parameter)
        groups = [{"params": others, "lr": lr}, {"params": latent, "lr": latent_lr}]
        return [torch.optim.AdamW(groups, lr, (0.9, 0.95), weight_decay=0.0), Muon(matrices, matrix_lr)]

    def loss(self, rows: Tensor, wanted: tuple[Tensor, Tensor], starts: Tensor, is_local: bool) -> tuple[Tensor, Tensor]:
        """Mean nats of the next id (with `is_local` without the latent) and the encoder's relative squared error."""
        ids, networks, config = rows[:, :-1], self.blt.model, self.blt.config
        document = documents_of(ids)
        patch = starts.long().cumsum(1) - 1
        own, newest = patch[:, :-1], (patch[:, 1:] - 1).clamp(min=0)
        patches = int(own.max()) + 1
        x = networks.local_encoder.bytes(ids, networks.encoder_hash_tok_embedding.weight, config)
        x = networks.local_encoder.run(x, config.encoder.window, document)
        vectors = networks.local_encoder.pool(x, own, patches)
        target, place = wanted
        found = vectors[place[:, 0], place[:, 1]]
        error = ((found - target).square().sum(1) / target.square().sum(1)).mean()
        if is_local:
            z = torch.zeros_like(vectors)
        else:
            z = networks.global_transformer(vectors, _patch_documents(ids, own, patches))
        logits = self.blt.lm_head(networks.local_decoder(x, z, newest, config.decoder.window, document))
        return F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten()), error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, nargs="+", default=[Path(".cache/data/train.bin")])
    parser.add_argument("--threshold", type=float, default=2.04, help="nats; a patch starts above it")
    parser.add_argument("--hash-vocab", type=int, default=4096)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--length", type=int, default=768)
    parser.add_argument("--local-steps", type=int, default=200)
    parser.add_argument("--pull", type=float, default=0.1, help="weight of the encoder's error beside the next id")
    parser.add_argument("--matrix-lr", type=float, default=0.004)
    parser.add_argument("--lr", type=float, default=0.002)
    parser.add_argument("--latent-lr", type=float, default=0.001)
    parser.add_argument("--export", action="store_true", help="write OUT/checkpoint from the last state and stop")
    add_run_arguments(parser, minutes=60, log_every=10)
    start(train, parser.parse_args())


def train(args: argparse.Namespace) -> Grown:
    torch.manual_seed(args.seed)
    model, latent = grow(args.checkpoint, args.threshold, args.hash_vocab)
    lexicon, grown = load_lexicon(args.checkpoint), Grown(model, args.rank)
    ids = read_ids(args.data) if not args.export else None

    def loss_of(step: int) -> tuple[Tensor, dict]:
        rows = rows_of(ids, first_of_rows(len(ids), args.length, args.rows, args.seed, step), args.length)
        starts = model.patch_starts(rows[:, :-1])
        wanted = wanted_vectors(latent, lexicon, rows[:, :-1], starts)
        is_local = step < args.local_steps
        nats, error = grown.loss(rows, wanted, starts, is_local)
        record = {"encoder": round(error.item(), 4), "bpb": round(nats.item() / math.log(2), 4)}
        return nats + (1.0 if is_local else args.pull) * error, record

    schedule = Schedule(args.steps, warmup=20, seconds=60 * args.minutes, log_every=args.log_every)
    optimizers = grown.optimizers(args.matrix_lr, args.lr, args.latent_lr)
    run = Run(grown, optimizers, loss_of, args.out, schedule)
    run.resume()
    if args.export or run.run(args.stop_after):
        merge(model.model.global_transformer)
        save_checkpoint(model, args.out / "checkpoint")
    return grown


if __name__ == "__main__":
    main()
