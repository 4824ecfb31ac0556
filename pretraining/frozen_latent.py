"""What trainings beside a latent that stays as it is have in common: their arguments, and that latent."""

import argparse
from pathlib import Path

import torch

from latent_reference import LatentTransformer, load_latent
from latent_training import FastLatent, begin_from, load_trained_latent, rounded_weights


def add_latent_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--rows", type=Path, required=True, help="uint16 [N, T] pieces, texts one after the other")
    parser.add_argument("--validation", type=Path, required=True, help="the same of other projects")
    parser.add_argument("--validation-rows", type=int, default=64)
    parser.add_argument("--latent", type=Path, help="latent.pt of train_latent.py; else the checkpoint's latent")
    parser.add_argument("--compile", action="store_true", help="the latent's layer becomes kernels of its own")
    parser.add_argument("--batch", type=int, default=16, help="rows of a step")


def frozen_latent(args: argparse.Namespace, base: LatentTransformer | None = None) -> FastLatent:
    """The latent that is named, or else the checkpoint's (`base`, where it has been loaded); in bf16 on a GPU."""
    weights = load_trained_latent(args.latent) if args.latent else rounded_weights(begin_from(base or load_latent(args.checkpoint)))
    dtype = torch.float32 if args.device == "cpu" else torch.bfloat16
    return FastLatent(weights.config, dtype).load(weights.to(args.device))
