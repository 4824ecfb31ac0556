"""Trains draft layers of a lexicon model (`draft_layer.py`): what the latent is going to say after the next pieces.

    python pretraining/train_drafter.py models/default --rows .cache/rows/rows.npy --validation .cache/rows/validation.npy \\
        --inner 9,19 none --out OUT --device cuda --compile --minutes 8

The frozen latent reads rows of pieces as training goes on. A draft layer learns the latent's own distribution of the next
piece (over the `--vocabulary` most frequent ones) with states that are up to `--depths` pieces old. Each word of `--inner` is a layer
of its own, trained on the same states: the numbers of the latent's layers whose outputs it sees, by commas, or `none`.
Minutes are of the clock and begin after a first step that is thrown away; validation comes on top.
OUT/draft-9-19.safetensors, OUT/draft-none.safetensors hold weights in fp16, OUT/drafter.json what was measured on the validation rows.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from config import StackConfig
from draft_layer import DraftLayer, save_module
from frozen_latent import add_latent_arguments, frozen_latent
from latent_training import FastLatent
from piece_stream import drawn_rows, load_rows, step_chance
from pieces import load_lexicon
from right_in_a_row import RightInARow
from training_run import Run, Schedule, add_run_arguments, optimizers_of, start

# Pieces that a training row can look back, and that a draft layer can in use.
WINDOW = 512
# Rows that the most frequent pieces are counted in.
COUNTED_ROWS = 8192
# How much less the next depth counts than the one before.
DEPTH_WEIGHT = 0.8


@dataclass
class Sources:
    """What does not learn."""

    latent: FastLatent
    pieces: Tensor  # [V] pieces that can be drafted, most frequent first
    answers: Tensor  # [V, E] rows of the readout
    device: torch.device

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")


@dataclass
class Seen:
    """Rows cut to what a draft layer can look back, B of T pieces each: what it sees of them, and what it is to foresee."""

    before: Tensor  # [B, T, E] states before each piece
    embedded: Tensor  # [B, T, E]
    after: Tensor  # [B, T, E] states after each piece
    inner: dict[int, Tensor]  # outputs [B, T, E] of the latent's layers before each piece, by number

    @staticmethod
    @torch.no_grad()
    def of(latent: FastLatent, rows: Tensor, layers: set[int]) -> "Seen":
        outputs = dict.fromkeys(layers, torch.empty(0))
        states = latent.hidden(rows, outputs=outputs)
        length = min(WINDOW, rows.shape[1])
        whole = rows.shape[1] // length * length

        def cut(part: Tensor) -> Tensor:
            return part[:, :whole].unflatten(1, (-1, length)).flatten(0, 1)

        def one_later(part: Tensor) -> Tensor:
            return cut(F.pad(part, (0, 0, 1, -1)))

        inner = {number: one_later(output) for number, output in outputs.items()}
        return Seen(one_later(states), cut(latent.embedding[rows]), cut(states), inner)

    def by(self, layer: DraftLayer, inner: list[int], depths: int) -> list[Tensor]:
        """What a layer that sees the inner ones foresees, by depth."""
        inside = torch.stack([self.inner[number] for number in inner], dim=-2) if inner else None
        return layer(self.before, self.embedded, depths, inside)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_latent_arguments(parser)
    parser.add_argument("--inner", nargs="+", default=["none"], help="a draft layer for each: numbers of layers by commas, or none")
    parser.add_argument("--depths", type=int, default=4)
    parser.add_argument("--vocabulary", type=int, default=12288)
    parser.add_argument("--matrix-lr", type=float, default=0.01)
    parser.add_argument("--lr", type=float, default=0.003)
    add_run_arguments(parser, minutes=8)
    start(train, parser.parse_args())


def train(args: argparse.Namespace) -> dict:
    """Trains all layers, writes them, and returns what was measured."""
    torch.manual_seed(args.seed)
    rows = load_rows(args.rows)
    sources = load_sources(args, rows)
    rows = rows.to(args.device)
    inner = {word: [] if word == "none" else [int(number) for number in word.split(",")] for word in args.inner}
    numbers = {number for each in inner.values() for number in each}
    if not numbers <= set(range(sources.latent.config.layers)):
        raise SystemExit(f"error: --inner {' '.join(args.inner)}: the latent has layers 0 to {sources.latent.config.layers - 1}")
    config = sources.latent.config
    width = config.hidden_size
    shape = StackConfig(width, 1, config.heads, config.kv_heads, 8 * width // 3, config.rope_theta, config.norm_eps, WINDOW)
    # Names of modules have no commas.
    layers = nn.ModuleDict({word.replace(",", "-"): DraftLayer(shape, len(inner[word])) for word in inner}).to(args.device)

    def loss_of(step: int) -> tuple[Tensor, dict]:
        batch = drawn_rows(rows, args.batch, step_chance(args.device, args.seed, step))
        seen = Seen.of(sources.latent, batch, numbers)
        nats = divergences(sources, layers, list(inner.values()), seen, args.depths)
        weights = torch.tensor([DEPTH_WEIGHT**depth for depth in range(args.depths)], device=nats.device)
        losses = (nats * weights).sum(-1) / weights.sum()
        return losses.sum(), dict(zip(layers, losses.detach(), strict=True))

    def save() -> None:
        for name, layer in layers.items():
            save_module(layer, args.out / f"draft-{name}.safetensors", {"pieces": sources.pieces.int().cpu()})

    # Kernels are chosen and caches filled before the clock runs.
    loss_of(0)[0].backward()
    layers.zero_grad(set_to_none=True)
    schedule = Schedule(
        args.steps, warmup=20, warmdown=0.6, seconds=60 * args.minutes, clip=2.0, save_seconds=60, log_every=args.log_every
    )
    optimizers = optimizers_of(layers, args.matrix_lr, args.lr)
    run = Run(layers, optimizers, loss_of, args.out, schedule, device=args.device)
    run.resume()
    measured: dict = {}
    if run.run(args.stop_after, on_save=save):
        held_out = load_rows(args.validation, args.validation_rows).to(args.device)
        measured = {"steps": run.step, "rows_a_step": args.batch}
        for (name, layer), seen_layers in zip(layers.items(), inner.values(), strict=True):
            measured[name] = measure(sources, layer, seen_layers, held_out, args.batch)
        (args.out / "drafter.json").write_text(json.dumps(measured, indent=1) + "\n")
        print(json.dumps(measured), flush=True)
    return measured


def load_sources(args: argparse.Namespace, rows: Tensor) -> Sources:
    lexicon = load_lexicon(args.checkpoint)
    latent = frozen_latent(args)
    if args.compile:
        latent.layer = torch.compile(latent.layer, dynamic=False)
    counts = torch.bincount(rows[:COUNTED_ROWS].flatten(), minlength=len(lexicon.pieces)) + 0.5
    for special in lexicon.special - {lexicon.eos}:
        counts[special] = 0
    pieces = counts.argsort(descending=True, stable=True)[: args.vocabulary].to(args.device)
    return Sources(latent, pieces, latent.embedding[pieces], torch.device(args.device))


def divergences(sources: Sources, layers: nn.ModuleDict, inner: list[list[int]], seen: Seen, depths: int) -> Tensor:
    """Mean distance of each layer's distributions from the latent's own, nats a piece, [layers, depths]."""
    with sources.autocast():
        foreseen = [seen.by(layer, numbers, depths) for layer, numbers in zip(layers.values(), inner, strict=True)]
    ours = torch.stack([state.flatten(0, 1) for states in foreseen for state in states])
    # The first pieces of a row have no state of that age.
    at = torch.arange(seen.after.shape[1], device=ours.device)
    counts = torch.stack([at >= depth for depth in range(depths)])[:, None].expand(-1, len(seen.after), -1).flatten(1)
    weights = (counts / counts.sum(1, keepdim=True)).repeat(len(layers), 1)
    return Divergence.apply(ours, seen.after.flatten(0, 1), sources.answers, weights).view(len(layers), depths)


class Divergence(torch.autograd.Function):
    """Kullback-Leibler divergences of the distributions after states, nats, weighted sums [K]; gradients to `ours` alone.

    Its gradient is softmax minus softmax, so that no logits are kept: ours [K, N, E], theirs [N, E], answers [V, E], weights [K, N].
    """

    @staticmethod
    def forward(ctx, ours: Tensor, theirs: Tensor, answers: Tensor, weights: Tensor, chunk: int = 8192) -> Tensor:
        gradient = torch.empty_like(ours)
        totals = torch.zeros(len(ours), device=ours.device)
        for at in range(0, len(theirs), chunk):
            part = slice(at, at + chunk)
            target = (theirs[part].to(answers.dtype) @ answers.T).softmax(-1)
            for k, states in enumerate(ours):
                logits = states[part].to(answers.dtype) @ answers.T
                mine = logits.softmax(-1)
                # A tenth of the rows says how large the divergence is.
                few, weight = slice(0, None, 10), weights[k, part]
                nats = F.kl_div(logits[few].float().log_softmax(-1), target[few].float(), reduction="none").sum(-1)
                totals[k] += (nats * weight[few]).sum() / weight[few].sum().clamp_min(1e-9) * weight.sum()
                gradient[k, part] = (mine.sub_(target) @ answers).to(ours.dtype) * weight[:, None]
        ctx.save_for_backward(gradient)
        return totals

    @staticmethod
    def backward(ctx, scale: Tensor) -> tuple[Tensor, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * scale[:, None, None], None, None, None, None


@torch.no_grad()
def measure(sources: Sources, layer: DraftLayer, inner: list[int], rows: Tensor, batch: int, ages: int = 6) -> dict:
    """On held-out rows: how many pieces of a draft are right in a row, and each alone, of the text and of the latent's likeliest."""
    of_text, of_likeliest = RightInARow(ages), RightInARow(ages)
    for group in rows.long().split(batch):
        seen = Seen.of(sources.latent, group, set(inner))
        with sources.autocast():
            foreseen = seen.by(layer, inner, ages)
        chosen = [sources.pieces[likeliest(each, sources.answers)] for each in foreseen]
        best = likeliest(seen.after, sources.latent.embedding)
        text = group[:, : best.numel() // len(group)].reshape(best.shape)
        of_text.add([each[:, :-1] == text[:, 1:] for each in chosen])
        of_likeliest.add([each[:, :-1] == best[:, :-1] for each in chosen])
    measures = {"text": of_text, "likeliest": of_likeliest}
    return {
        "right_in_a_row_of_1_2_3_": {name: each.means() for name, each in measures.items()},
        "right_at_age_0_1_2_": {name: each.rates() for name, each in measures.items()},
    }


def likeliest(states: Tensor, answers: Tensor) -> Tensor:
    """[B, T, E] -> places of the likeliest answers, [B, T]."""
    return torch.stack([(row.to(answers.dtype) @ answers.T).argmax(-1) for row in states])


if __name__ == "__main__":
    main()
