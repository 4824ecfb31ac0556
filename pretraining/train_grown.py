"""Trains the plain form: a BLT with one vector a patch and no lexicon around the base's latent transformer (grown.py).

    python pretraining/train_grown.py --checkpoint models/default --rows-file .cache/rows/train.npy \\
        --validation-file .cache/rows/validation.npy --out .cache/train/grown --minutes 60

First, without the latent and so cheaply (`--local-steps`), the encoder learns what the base is shown for a patch, while both
local networks stay a good byte model; then all weights but the patcher's learn the next byte. A window's first
`--patches` patches count. `--patch-length` bytes a patch on the held-out rows give the threshold. OUT/checkpoint, in the
Hugging Face layout, is written at the end; evaluate_plain.py scores it. On a GPU (`--device cuda`) a step takes many more
windows: `--rows 48 --length 2048 --patches 640 --local-steps 400`.
"""

import argparse
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from add_patcher import stored_patcher
from checkpoint import save_checkpoint
from grown import STREAM_SCALE, base_of, grow, wanted_vectors
from latent_reference import load_latent
from latent_training import load_trained_latent
from model import Blt, Patcher, _CrossAttention, _Layer, _patch_documents, documents_of
from patch_table import threshold_for
from piece_stream import read_rows, stream_of
from pieces import load_lexicon
from train_patcher import SHAPES, load_patcher, read_held_out
from training_run import Muon, Run, Schedule, add_run_arguments, start


class Grown(nn.Module):
    """The model in training, with the base's table of pieces [V, D'] and at most P patches a window."""

    def __init__(self, model: Blt, embedding: Tensor, patches: int):
        super().__init__()
        self.blt, self.patches = model, patches
        self.register_buffer("embedding", embedding, persistent=False)
        model.model.patcher.requires_grad_(False)

    def optimizers(self, matrix_lr: float, lr: float, latent_lr: float) -> list[torch.optim.Optimizer]:
        """Muon for the matrices of encoder and decoder layers, AdamW for the rest; its last two groups are the latent.

        What the latent's layers add is as large as its stream, so rates of those matrices are too; their gradients are as much smaller.
        """
        matrices, others, reading, writing = [], [], [], []
        for name, parameter in self.named_parameters():
            if not parameter.requires_grad:
                continue
            if "global_transformer" in name:
                (writing if name.endswith(("o_proj.weight", "down_proj.weight")) else reading).append(parameter)
            else:
                (matrices if parameter.ndim == 2 and "layers." in name else others).append(parameter)
        groups = [{"params": others, "lr": lr}, {"params": reading, "lr": latent_lr, "eps": 1e-10}]
        groups += [{"params": writing, "lr": STREAM_SCALE * latent_lr, "eps": 1e-10 / STREAM_SCALE}]
        return [torch.optim.AdamW(groups, lr, (0.9, 0.95), weight_decay=0.0, fused=True), Muon(matrices, matrix_lr)]

    def compile(self) -> None:
        """Layer by layer: those of one shape share what is compiled."""
        for module in self.blt.modules():
            if isinstance(module, _Layer):
                module.compile(dynamic=False)
            elif isinstance(module, _CrossAttention):
                module.patches_from_bytes = torch.compile(module.patches_from_bytes, dynamic=False)
                module.bytes_from_patch = torch.compile(module.bytes_from_patch, dynamic=False)

    def loss(self, rows: Tensor, pieces: Tensor, is_local: bool) -> tuple[Tensor, Tensor]:
        """Ids [B, T + 1], pieces [B, T] -> mean nats of the next id (with `is_local` without the latent) and the
        encoder's relative squared error."""
        ids, networks, config = rows[:, :-1], self.blt.model, self.blt.config
        document = documents_of(ids)
        patch = self.blt.patch_starts(ids).long().cumsum(1) - 1
        own, newest = patch[:, :-1].clamp(max=self.patches - 1), (patch[:, 1:] - 1).clamp(0, self.patches - 1)
        x = networks.local_encoder.bytes(ids, networks.encoder_hash_tok_embedding.weight, config)
        x = networks.local_encoder.run(x, config.encoder.window, document)
        vectors = networks.local_encoder.pool(x, own, self.patches)
        target, exists = wanted_vectors(self.embedding, pieces, own, self.patches)
        exists[:, -1] = False  # it holds what is left of a window with more patches
        errors = (vectors - target).square().sum(-1) / target.square().sum(-1).clamp(min=1e-6)
        if is_local:
            z = torch.zeros_like(vectors)
        else:
            z = networks.global_transformer(vectors, _patch_documents(ids, own, self.patches))
        logits = self.blt.lm_head(networks.local_decoder(x, z, newest, config.decoder.window, document))
        nats = F.cross_entropy(logits.float().flatten(0, 1), rows[:, 1:].flatten(), reduction="none").view(ids.shape)
        return mean_of(nats, patch[:, 1:] < self.patches), mean_of(errors, exists)


def mean_of(values: Tensor, chosen: Tensor) -> Tensor:
    return (values * chosen).sum() / chosen.sum().clamp(min=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("models/default"), help="of the base, with its lexicon")
    parser.add_argument("--latent", type=Path, help="a latent trained further (latent_training.py), instead of the checkpoint's")
    parser.add_argument("--patcher", type=Path, help="a patcher.safetensors, instead of the checkpoint's")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="w192x4", help="of --patcher")
    parser.add_argument("--rows-file", type=Path, required=True)
    parser.add_argument("--validation-file", type=Path, required=True)
    parser.add_argument("--validation-rows", type=int, default=64)
    parser.add_argument("--patch-length", type=float, default=4.0)
    parser.add_argument("--hash-vocab", type=int, default=4096)
    parser.add_argument("--rows", type=int, default=2, help="windows a step")
    parser.add_argument("--length", type=int, default=768, help="bytes of a window")
    parser.add_argument("--patches", type=int, default=256, help="patches of a window at most")
    parser.add_argument("--local-steps", type=int, default=200)
    parser.add_argument("--latent-warmup", type=int, default=100, help="steps in which the latent's rates rise after these")
    parser.add_argument("--pull", type=float, default=0.1, help="weight of the encoder's error beside the next id")
    parser.add_argument("--matrix-lr", type=float, default=0.004)
    parser.add_argument("--lr", type=float, default=0.002)
    parser.add_argument("--latent-lr", type=float, default=0.0008)
    add_run_arguments(parser, minutes=60, log_every=10)
    start(train, parser.parse_args())


def train(args: argparse.Namespace) -> Grown:
    begun, is_fast = time.monotonic(), args.device != "cpu"
    torch.manual_seed(args.seed)
    lexicon = load_lexicon(args.checkpoint)
    stream = stream_of(read_rows(args.rows_file), lexicon, args.device)
    base = base_of(load_trained_latent(args.latent)) if args.latent else load_latent(args.checkpoint)
    patcher = patcher_of(args)
    held_out = stream_of(read_rows(args.validation_file, args.validation_rows), lexicon, args.device)
    threshold = threshold_for(read_held_out(patcher.to(args.device), held_out)[1], args.patch_length)
    grown = Grown(grow(base, patcher.cpu(), threshold, args.hash_vocab), base.embedding, args.patches).to(args.device)
    print(f"threshold {threshold:.4f} nats for {args.patch_length:g} bytes a patch", flush=True)
    if is_fast:
        grown.compile()
    optimizers = grown.optimizers(args.matrix_lr, args.lr, args.latent_lr)

    def loss_of(step: int) -> tuple[Tensor, dict]:
        is_local = step < args.local_steps
        for group in optimizers[0].param_groups[1:]:
            group["lr"] *= min(1.0, max(0.0, (step + 1 - args.local_steps) / args.latent_warmup))
        places = stream.windows(args.rows, args.length, args.seed, step)
        ids, pieces = stream.ids[places].long(), stream.pieces[places[:, :-1]].long()
        with torch.autocast(args.device, torch.bfloat16, enabled=is_fast):
            nats, error = grown.loss(ids, pieces, is_local)
        return nats + (1.0 if is_local else args.pull) * error, {"encoder": error.detach(), "bpb": nats.detach() / math.log(2)}

    schedule = Schedule(args.steps, warmup=20, seconds=60 * args.minutes, log_every=args.log_every)
    gone = time.monotonic() - begun if is_fast else 0.0
    run = Run(grown, optimizers, loss_of, args.out, schedule, device=args.device, seconds=gone)
    run.resume()
    if run.run(args.stop_after):
        save_checkpoint(grown.blt, args.out / "checkpoint")
    return grown


def patcher_of(args: argparse.Namespace) -> Patcher:
    if not args.patcher:
        return stored_patcher(args.checkpoint)
    patcher = Patcher(SHAPES[args.shape], 260)
    load_patcher(patcher, args.patcher)
    return patcher


if __name__ == "__main__":
    main()
