"""Trains what foresees the latent of a lexicon model: the local decoder (bytes) and the draft layer (pieces).

    python pretraining/train_decoder.py models/default --rows .cache/rows/rows.npy --validation .cache/rows/validation.npy \\
        --latent latent.pt --patcher patcher.safetensors --patcher-shape w192x4 --out OUT --device cuda --compile --minutes 1.7

The frozen latent reads rows of pieces as training goes on. The draft layer learns the latent's own distribution of the
next piece (over the `--vocabulary` most frequent ones) with states that are up to `--depths` pieces old, the local decoder the
text's bytes with latents that are 1, 2, ... pieces old (`--lags`: how often each). Minutes are of the clock; a first step that
is thrown away, compilation, and validation at the end come on top, on a large GPU about half a minute.
OUT/decoder.safetensors and OUT/draft.safetensors hold the weights in fp16, OUT/decoder.json what was measured on the validation rows.
"""

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from add_patcher import stored_patcher
from byte_places import BytePlaces, PieceBytes
from config import StackConfig
from decoder import Decoder, decoder_shape, patcher_states
from draft_layer import DraftLayer, save_module
from frozen_latent import add_latent_arguments, frozen_latent
from latent_training import FastLatent
from model import Patcher
from piece_stream import load_rows
from pieces import load_lexicon
from train_patcher import SHAPES as PATCHER_SHAPES
from train_patcher import load_patcher
from training_run import TrainingStopped, optimizers_of, start

LN2 = math.log(2)
# Pieces that a training row of the draft layer can look back, and that it can in use.
WINDOW = 512
LOG_EVERY = 20


@dataclass
class Sources:
    """What does not learn, and the texts."""

    latent: FastLatent
    patcher: Patcher
    bytes: PieceBytes
    pieces: Tensor  # [V] pieces that can be drafted, most frequent first
    answers: Tensor  # [V, E] rows of the readout
    device: torch.device

    def states(self, rows: Tensor) -> Tensor:
        """What the readout's rows are multiplied with after each piece, [B, T, E]."""
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
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--minutes", type=float, default=1.7, help="by the clock, from the first step that counts")
    parser.add_argument("--steps", type=int, default=10**9)
    parser.add_argument("--byte-rows", type=int, default=4, help="of a step's rows, rows whose bytes the local decoder learns")
    parser.add_argument("--decoder-layers", type=int, default=3)
    parser.add_argument("--vectors", type=int, default=4)
    parser.add_argument("--lags", type=float, nargs="+", default=[0.4, 0.25, 0.15, 0.1, 0.06, 0.04])
    parser.add_argument("--depths", type=int, default=4)
    parser.add_argument("--vocabulary", type=int, default=12288)
    parser.add_argument("--matrix-lr", type=float, default=0.01)
    parser.add_argument("--lr", type=float, default=0.003)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    start(train, parser.parse_args())


def train(args: argparse.Namespace) -> dict:
    """Trains both, writes them, and returns what was measured."""
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    rows = load_rows(args.rows)
    sources = load_sources(args, rows)
    rows = rows.to(sources.device)
    width = sources.answers.shape[1]
    config = sources.latent.config
    draft = DraftLayer(
        StackConfig(width, 1, config.heads, config.kv_heads, 8 * width // 3, config.rope_theta, config.norm_eps, WINDOW)
    ).to(sources.device)
    shape = decoder_shape(sources.patcher.config, args.decoder_layers)
    decoder = Decoder(shape, width, args.vectors).to(sources.device)
    decoder.begin_from(sources.patcher)
    run_training(args, sources, draft, decoder, rows)
    measured = measure(sources, draft, decoder, load_rows(args.validation, args.validation_rows), args.batch)
    (args.out / "decoder.json").write_text(json.dumps(measured, indent=2) + "\n")
    return measured


def load_sources(args: argparse.Namespace, rows: Tensor) -> Sources:
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
    counts = torch.bincount(rows[:8192].flatten(), minlength=len(lexicon.pieces)) + 0.5
    for special in lexicon.special - {lexicon.eos}:
        counts[special] = 0
    pieces = counts.argsort(descending=True, stable=True)[: args.vocabulary].to(device)
    bytes_of = PieceBytes.of(lexicon, device)
    return Sources(latent, patcher.to(device).eval(), bytes_of, pieces, latent.embedding[pieces], device)


def run_training(args: argparse.Namespace, sources: Sources, draft: DraftLayer, decoder: Decoder, rows: Tensor) -> None:
    """Steps until the minutes or the steps are over; rates fall to nothing from two fifths on. Saves every 30 seconds."""
    both = nn.ModuleDict({"draft": draft, "decoder": decoder})
    optimizers = optimizers_of(both, args.matrix_lr, args.lr)
    tops = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    lags = torch.tensor(args.lags, device=sources.device)
    chance = torch.Generator(sources.device).manual_seed(args.seed)

    def step() -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(rows), (args.batch,), generator=chance, device=sources.device)
        batch = rows[chosen].long()
        states = sources.states(batch)
        draft_loss = draft_step(sources, draft, batch, states, args.depths)
        byte_loss = decoder_step(sources, decoder, batch[: args.byte_rows], states[: args.byte_rows], lags, chance)
        return draft_loss, byte_loss

    # Kernels are chosen and caches filled before the clock runs.
    sum(step()).backward()
    both.zero_grad(set_to_none=True)
    synchronize(sources.device)
    begun = saved = logged = time.monotonic()
    at = 0
    seen = torch.zeros(2, device=sources.device)  # of all losses since they were looked at: what is no number stays
    while True:
        done = max(at / args.steps, (time.monotonic() - begun) / (60 * args.minutes))
        if done >= 1:
            break
        rate = min(1, (at + 1) / 20) * min(1, max(0.01, (1 - done) / 0.6))
        for optimizer, each in zip(optimizers, tops, strict=True):
            for group, top in zip(optimizer.param_groups, each, strict=True):
                group["lr"] = rate * top
        draft_loss, byte_loss = step()
        (draft_loss + byte_loss).backward()
        nn.utils.clip_grad_norm_(draft.parameters(), 1.0)
        nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        at += 1
        seen += torch.stack([draft_loss.detach(), byte_loss.detach()])
        if at % LOG_EVERY == 0:
            losses = [draft_loss.item(), byte_loss.item()]
            check(seen, both, at, args.out)
            seen.zero_()
            now = time.monotonic()
            speed = LOG_EVERY * args.batch * rows.shape[1] / (now - logged)
            logged = now
            print(
                f"{now - begun:6.1f} s, step {at}, rate {rate:.2f}: draft {losses[0] / LN2:.4f} bits a piece over the latent's own, "
                f"bytes {losses[1] / LN2:.4f} bpb, {speed:,.0f} pieces/s",
                flush=True,
            )
            if now - saved > 30:
                save(sources, draft, decoder, args.out)
                saved = now
    check(seen, both, at, args.out)
    save(sources, draft, decoder, args.out)


def check(losses: Tensor, both: nn.Module, step: int, out: Path) -> None:
    """Losses up to a step, and the weights after it, must be numbers before anything is written over."""
    weights = torch.stack([parameter.detach().float().sum() for parameter in both.parameters()]).sum()
    if not bool(torch.cat([losses, weights[None]]).isfinite().all()):
        raise TrainingStopped(f"by step {step} losses or weights are no numbers; the last good weights are in {out}")


def save(sources: Sources, draft: DraftLayer, decoder: Decoder, out: Path) -> None:
    save_module(draft, out / "draft.safetensors", {"pieces": sources.pieces.int().cpu()})
    save_module(decoder, out / "decoder.safetensors")


def draft_step(sources: Sources, draft: DraftLayer, rows: Tensor, states: Tensor, depths: int) -> Tensor:
    """Mean distance of the draft layer's distributions from the latent's own, nats a piece, over all depths."""
    before, embedded, after = draft_inputs(sources, rows, states)
    with sources.autocast():
        foreseen = draft(before, embedded, depths)
    weights = [0.8**depth for depth in range(depths)]
    # The first pieces of a row have no state of that age.
    parts = [(state[:, depth:].flatten(0, 1), after[:, depth:].flatten(0, 1)) for depth, state in enumerate(foreseen)]
    losses = [w * Divergence.apply(ours, theirs, sources.answers) for w, (ours, theirs) in zip(weights, parts, strict=True)]
    return sum(losses) / sum(weights)


def draft_inputs(sources: Sources, rows: Tensor, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows cut to what the draft layer can look back: states before each piece, embeddings, states after each piece."""
    length = min(WINDOW, rows.shape[1])
    before = F.pad(states, (0, 0, 1, -1))
    whole = rows.shape[1] // length * length
    return tuple(part[:, :whole].unflatten(1, (-1, length)).flatten(0, 1) for part in (before, sources.latent.embedding[rows], states))


class Divergence(torch.autograd.Function):
    """Mean Kullback-Leibler divergence of the distributions after two sets of states, nats; gradients to the first alone.

    Its gradient is softmax minus softmax, so that no logits are kept: ours [N, E], theirs [N, E], answers [V, E].
    """

    @staticmethod
    def forward(ctx, ours: Tensor, theirs: Tensor, answers: Tensor, chunk: int = 8192) -> Tensor:
        gradient = torch.empty_like(ours)
        total = torch.zeros((), device=ours.device)
        for at in range(0, len(ours), chunk):
            part = slice(at, at + chunk)
            logits = ours[part].to(answers.dtype) @ answers.T
            target = (theirs[part].to(answers.dtype) @ answers.T).softmax(-1)
            mine = logits.softmax(-1)
            # A tenth of the rows says how large the divergence is.
            few = slice(0, None, 10)
            total += F.kl_div(logits[few].float().log_softmax(-1), target[few].float(), reduction="batchmean") * len(ours[part])
            gradient[part] = (mine.sub_(target) @ answers).to(ours.dtype)
        ctx.save_for_backward(gradient / len(ours))
        return total / len(ours)

    @staticmethod
    def backward(ctx, scale: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * scale, None, None, None


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
def measure(sources: Sources, draft: DraftLayer, decoder: Decoder, rows: Tensor, batch: int, ages: int = 6) -> dict:
    """On held-out rows: bits a byte by the latent's age, and how many pieces of a draft are right in a row."""
    bits, patcher_bits, count = torch.zeros(ages + 1), 0.0, 0
    drafts = {name: RightInARow(ages) for name in ("draft layer, text", "draft layer, likeliest", "local decoder, text")}
    for group in rows.to(sources.device).long().split(batch):
        states = sources.states(group)
        before, embedded, after = draft_inputs(sources, group, states)
        with sources.autocast():
            foreseen = draft(before, embedded, ages)
        chosen = [sources.pieces[likeliest(each, sources.answers)] for each in foreseen]
        best = likeliest(after, sources.latent.embedding)
        whole = group[:, : best.numel() // len(group)].reshape(best.shape)
        drafts["draft layer, text"].add([each[:, :-1] == whole[:, 1:] for each in chosen])
        drafts["draft layer, likeliest"].add([each[:, :-1] == best[:, :-1] for each in chosen])

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
        # A latent after piece r drafts pieces r + 2, ... : as old as the draft layer's.
        last = int(places.own[:, -1].min())
        drafts["local decoder, text"].add([each[:, 2:last] for each in right[1:]])
    found = {
        "bytes": count,
        "patcher_bpb": round(patcher_bits / count, 4),
        "decoder_bpb_by_age": [round(each.item() / count, 4) for each in bits],
        "right_in_a_row_of_1_2_3_": {name: each.means() for name, each in drafts.items()},
        "right_at_age_0_1_2_": {name: each.rates() for name, each in drafts.items()},
    }
    print(json.dumps(found, indent=1), flush=True)
    return found


def likeliest(states: Tensor, answers: Tensor) -> Tensor:
    """[B, T, E] -> places of the likeliest answers, [B, T]."""
    return torch.stack([(row.to(answers.dtype) @ answers.T).argmax(-1) for row in states])


class RightInARow:
    """How many pieces of drafts of up to n pieces are right in a row, n = 1, 2, ..., over all places where one could begin."""

    def __init__(self, ages: int):
        self.in_a_row, self.alone, self.places = torch.zeros(ages), torch.zeros(ages), 0

    def add(self, right: list[Tensor]) -> None:
        """right[d] [B, T]: whether piece t is drafted rightly as the one after d others."""
        ages, length = len(right), right[0].shape[1] - len(right)
        run = torch.ones_like(right[0][:, :length])
        for age in range(ages):
            here = right[age][:, age : age + length]
            run = run & here
            self.in_a_row[age] += run.sum().item()
            self.alone[age] += here.sum().item()
        self.places += run.numel()

    def means(self) -> list[float]:
        return [round(each, 3) for each in (self.in_a_row / self.places).cumsum(0).tolist()]

    def rates(self) -> list[float]:
        """Share of right pieces by age, the pieces before it being the text's."""
        return [round(each, 3) for each in (self.alone / self.places).tolist()]


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
