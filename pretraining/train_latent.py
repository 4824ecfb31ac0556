"""Trains the latent of a lexicon model further: on source text, on what follows the cursor, for 4-bit weights.

It begins from a base as it was converted, or from what this script trained before.

    python pretraining/train_latent.py models/default --rows .cache/rows/rows.npy --validation .cache/rows/validation \\
        --device cuda --minutes 5 --out .cache/train/latent

The layers' matrices are kept in fp32 and rounded to 4-bit blocks before every step (`latent_training.py`); the gradient is
taken at the rounded ones. Adam, whose steps are multiples of each matrix's own size. The rate rises for 3 % of the time,
stays for a quarter and then falls to nothing by the clock. OUT/latent.pt: the rounded weights; OUT/log.jsonl; OUT/parts: the same
packed, in files of seven layers, written at each quarter of the time too, once the weights have given numbers on the held-out rows:
a run that diverges keeps those of before. Not resumable: a run is minutes on one GPU.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy
import torch
import torch.nn.functional as F
from torch import Tensor

import latent_training
from latent_reference import load_latent
from latent_training import (
    FastLatent,
    LatentWeights,
    begin_from,
    blocks_of,
    packed,
    piece_loss,
    rounded_weights,
    save_latent,
)
from piece_stream import load_rows
from pieces import Lexicon, load_lexicon
from training_run import TrainingStopped, save_tensors, start

LAYERS_A_FILE = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--rows", type=Path, nargs="+", required=True, help="files of rows, read one after the other")
    parser.add_argument("--validation", type=Path, required=True, help="VALIDATION.npy and VALIDATION-completions.npz")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=5, help="by the clock, from the first step that counts")
    parser.add_argument("--rate", type=float, default=5e-3, help="a step beside the size of a matrix's entries")
    parser.add_argument("--batch", type=int, default=16, help="rows in one forward")
    parser.add_argument("--batches", type=int, default=4, help="forwards in one step")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--validation-rows", type=int, default=64)
    parser.add_argument("--log-every", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    start(train, parser.parse_args())


class Adam:
    """Adam whose step is `rate` times the root mean square of each matrix as it was at the start."""

    def __init__(self, weights: LatentWeights, betas: tuple[float, float] = (0.9, 0.95)):
        self.masters = list(weights.matrices.values()) + [weights.readout]
        self.sizes = [m.square().mean((-2, -1), keepdim=True).sqrt() for m in self.masters]
        self.first = [torch.zeros_like(m) for m in self.masters]
        self.second = [torch.zeros_like(m) for m in self.masters]
        self.betas, self.step_number = betas, 0

    def step(self, gradients: list[Tensor], rate: float) -> None:
        self.step_number += 1
        slow, fast = (1 - beta**self.step_number for beta in self.betas)
        for master, size, first, second, gradient in zip(
            self.masters, self.sizes, self.first, self.second, gradients, strict=True
        ):
            first.lerp_(gradient, 1 - self.betas[0])
            second.lerp_(gradient.square(), 1 - self.betas[1])
            master.sub_(rate * size * (first / slow) / ((second / fast).sqrt() + 1e-12))


class Clip:
    """Bounds the norm of gradients at twice its running mean; no number leaves the device."""

    def __init__(self) -> None:
        self.mean: Tensor | None = None

    def __call__(self, gradients: list[Tensor]) -> Tensor:
        norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
        self.mean = norm if self.mean is None else self.mean
        factor = (2 * self.mean / norm).clamp(max=1)
        for gradient in gradients:
            gradient.mul_(factor)
        self.mean = torch.lerp(self.mean, norm * factor, 0.05)
        return norm


def train(args: argparse.Namespace) -> LatentWeights:
    torch.manual_seed(args.seed)
    torch.set_float32_matmul_precision("high")
    args.out.mkdir(parents=True, exist_ok=True)
    on_gpu = args.device != "cpu"
    base, lexicon = load_latent(args.checkpoint), load_lexicon(args.checkpoint)
    weights = begin_from(base).to(args.device)
    measure, say = Measure(args, lexicon), Log(args.out / "log.jsonl")
    latent = FastLatent(weights.config, torch.bfloat16 if on_gpu else torch.float32)
    if args.compile:
        compile_parts(latent)
    if base.readout is None:
        say({"at": "base", **measure(latent.load(weights))})
    say({"at": "begin", **measure(latent.load(rounded_weights(weights)))})
    adam, clip = Adam(weights), Clip()
    batches = batches_of(args.rows, args.batch, args.seed)
    gradients = [torch.zeros_like(m) for m in adam.masters]
    # The first step compiles; it is thrown away, and the clock starts after it.
    latent.load(rounded_weights(weights), trained=True)
    gather_gradients(latent, next(batches).to(args.device), gradients)
    if on_gpu:
        torch.cuda.synchronize()
    begun, step, pieces, reported = time.monotonic(), 0, 0, 0.0
    while (done := (time.monotonic() - begun) / (60 * args.minutes)) < 1:
        for gradient in gradients:
            gradient.zero_()
        latent.load(rounded_weights(weights), trained=True)
        loss = 0.0
        for _ in range(args.batches):
            ids = next(batches).to(args.device, non_blocking=True)
            loss, pieces = loss + gather_gradients(latent, ids, gradients), pieces + ids[:, 1:].numel()
        norm = clip(gradients)
        rate = args.rate * schedule(done)
        adam.step(gradients, rate)
        step += 1
        mean = loss.item() / args.batches  # also keeps the host from running ahead of the clock
        if not (math.isfinite(mean) and math.isfinite(norm.item())):
            raise diverged(f"the loss of step {step} is {mean}, its gradient's norm {norm.item()}", args.out)
        if step % args.log_every == 0:
            say({"step": step, "loss": round(mean, 4), "norm": round(norm.item(), 3), "rate": rate, "pieces": pieces})
        if done - reported > 0.25:
            reported = done
            say({"step": step, **measured(measure, latent.load(rounded_weights(weights)), args.out)})
            save_parts(weights, args.out / "parts")
    final = rounded_weights(weights)
    say({"at": "end", "step": step, "pieces": pieces, **measured(measure, latent.load(final), args.out)})
    save_parts(weights, args.out / "parts")
    save_latent(final, args.out / "latent.pt")
    return final


def measured(measure: "Measure", latent: FastLatent, out: Path) -> dict[str, float]:
    """What is measured, where it is numbers; only weights that give such are kept."""
    found = measure(latent)
    if not all(map(math.isfinite, found.values())):
        raise diverged(f"the weights give {found}", out)
    return found


def diverged(what: str, out: Path) -> TrainingStopped:
    return TrainingStopped(f"{what}; what was good last is in {out / 'parts'}, lower --rate")


def compile_parts(latent: FastLatent) -> None:
    """A layer, the loss and the rounding become kernels of their own, for each shape once."""
    torch._dynamo.config.cache_size_limit = 32  # noqa: SLF001
    # Measuring has other shapes and little to do: it goes without.
    latent.trained_layer = torch.compile(latent.layer, dynamic=False)
    latent_training.loss_and_gradient = torch.compile(latent_training.loss_and_gradient, dynamic=False)
    latent_training.rounded = torch.compile(latent_training.rounded, dynamic=False)


def schedule(done: float) -> float:
    """Share of the rate when `done` of the time has passed."""
    return min(1.0, done / 0.03, (1 - done) / 0.72)


def batches_of(files: Sequence[Path], size: int, seed: int) -> Iterator[Tensor]:
    """Batches of `size` rows, file after file, each row of a file once; after the last file the first comes again.

    A file is read when its turn comes, so that training can begin before all of them are there.
    """
    chance = numpy.random.default_rng(seed)
    while True:
        for file in files:
            rows = load_rows(file)
            order = torch.from_numpy(chance.permutation(len(rows)))
            yield from rows[order][: max(size, len(rows) // size * size)].split(size)


def gather_gradients(latent: FastLatent, ids: Tensor, gradients: list[Tensor]) -> Tensor:
    """Adds the gradients of a batch's mean loss (nats a piece) to `gradients` (in the order of Adam's masters)."""
    ids = ids.long()
    targets = torch.cat([ids[:, 1:], torch.full_like(ids[:, :1], -1)], dim=1).flatten()
    hidden = latent.hidden(ids).flatten(0, 1)
    loss = piece_loss(hidden, latent.embedding, targets) / (ids.shape[0] * (ids.shape[1] - 1))
    loss.backward()
    for gradient, name in zip(gradients[:-1], latent.layers[0], strict=True):
        gradient += torch.stack([layer[name].grad for layer in latent.layers])
        for layer in latent.layers:
            layer[name].grad = None
    gradients[-1] += latent.readout.grad
    latent.readout.grad = None
    return loss.detach()


class Measure:
    """Bits per byte of held-out rows; bits of what is missing at held-out cursors, with and without what follows it."""

    def __init__(self, args: argparse.Namespace, lexicon: Lexicon):
        self.rows = load_rows(args.validation.with_suffix(".npy"), args.validation_rows).long().to(args.device)
        lengths = torch.tensor([max(1, len(piece)) for piece in lexicon.pieces], device=args.device)
        self.bytes = lengths[self.rows[:, 1:]].sum()
        whole = numpy.load(args.validation.with_name(args.validation.name + "-completions.npz"))
        self.places = {
            name: [torch.from_numpy(whole[key].astype(numpy.int64)).to(args.device) for key in (name, missing)]
            for name, missing in (("with_suffix", "with_missing"), ("without", "without_missing"))
        }
        if args.device == "cpu":
            self.places = {name: [t[:2] for t in tensors] for name, tensors in self.places.items()}
        self.batch = args.batch

    @torch.no_grad()
    def __call__(self, latent: FastLatent) -> dict[str, float]:
        nats = sum(self._nats(latent, ids).sum() for ids in self.rows.split(self.batch))
        found = {"bpb": (nats / self.bytes / math.log(2)).item()}
        for name, (ids, missing) in self.places.items():
            bits = []
            for part, (first, end) in zip(ids.split(self.batch), (m.unbind(1) for m in missing.split(self.batch))):
                place = torch.arange(1, part.shape[1], device=part.device)
                inside = (place >= first[:, None]) & (place < end[:, None])
                bits.append((self._nats(latent, part) * inside).sum(1) / math.log(2))
            found[f"bits_{name}"] = torch.cat(bits).mean().item()
        return {name: round(value, 4) for name, value in found.items()}

    def _nats(self, latent: FastLatent, ids: Tensor) -> Tensor:
        """[B, T] -> nats of every piece but the first, [B, T - 1]."""
        hidden = latent.hidden(ids)[:, :-1]
        return torch.stack(
            [
                F.cross_entropy((row @ latent.embedding.T).float(), wanted, reduction="none")
                for row, wanted in zip(hidden, ids[:, 1:], strict=True)
            ]
        )


class Log:
    def __init__(self, path: Path):
        self.path, self.begun = path, time.monotonic()

    def __call__(self, record: dict) -> None:
        record = {"seconds": round(time.monotonic() - self.begun, 1)} | record
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        print(record, flush=True)


def save_parts(weights: LatentWeights, folder: Path) -> None:
    """The layers as 4-bit blocks, packed: two numbers a byte, the first in the low half; seven layers a file."""
    folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, weights.config.layers, LAYERS_A_FILE):
        tensors: dict[str, Tensor] = {"readout": weights.readout.cpu()} if first == 0 else {}
        for name, matrix in weights.matrices.items():
            q, scale = blocks_of(matrix[first : first + LAYERS_A_FILE])
            tensors[name] = packed(q).cpu().contiguous()
            tensors[f"{name}_scale"] = scale[..., 0].half().cpu().contiguous()
        save_tensors(tensors, folder / f"layers-{first:02}.safetensors")


if __name__ == "__main__":
    main()
