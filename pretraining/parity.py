"""Compares the TypeScript runtime with the transformers library on the same checkpoint and ids.

    parity.py reference DIR --lengths 1,2,40 > cases.json   transformers' numbers as golden.json has them
    parity.py compare DIR                                   `blt logits --semantics hf` against them
    parity.py random --count 8                              the same on fresh random checkpoints

transformers runs in fp32 without cache (its cached forward is wrong, blt-spec section 11.4). Exit code 1 when a logit
or an entropy differs by more than 1e-4, or a patch length differs.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from torch import Tensor
from transformers import BltForCausalLM
from transformers.utils import logging

from model import starts_from_lengths
from random_checkpoint import Shape, make_checkpoint, sample_ids

TOLERANCE = 1e-4
# Closer than this to the threshold, rounding decides: such a case proves nothing either way (blt-spec item 40).
UNDECIDED = 1e-5
LENGTHS = "1,2,3,17,130,700"


@dataclass
class Reference:
    """transformers' numbers for one sequence of n ids.

    entropies [n] nats; starts [1, n + 1] (the last: does the unseen next id open a patch?); logits [n, V].
    `longer_last` [V]: the last position's logits from a forward of one id more. They differ from logits[-1] only when
    max_patch_length is set: transformers then forgets whether the next id opens a patch (blt-spec section 4.4).
    """

    ids: list[int]
    patch_lengths: list[int]
    entropies: Tensor
    starts: Tensor
    logits: Tensor
    longer_last: Tensor


@dataclass
class Difference:
    logits: float
    entropies: float
    same_patches: bool

    @property
    def bad(self) -> bool:
        return not self.same_patches or not max(self.logits, self.entropies) <= TOLERANCE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("reference", "compare"):
        command = commands.add_parser(name)
        command.add_argument("checkpoint", type=Path)
        command.add_argument("--ids", action="append", help="1,76,105: one sequence; may be repeated")
    commands.add_parser("random").add_argument("--count", type=int, default=8, help="checkpoints")
    for name, command in commands.choices.items():
        command.add_argument(
            "--lengths", default=LENGTHS, help="ids of sample text a sequence, when no --ids are given"
        )
        command.add_argument("--seed", type=int, default=1)
        if name != "reference":
            command.add_argument("--cli", type=Path, default=Path(__file__).parent.parent / "dist" / "cli.js")
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    if args.command == "reference":
        model = load(args.checkpoint)
        cases = [as_golden(f"{len(ids)}-ids", reference(model, ids)) for ids in sequences(args)]
        print(json.dumps({"made_with": f"transformers {transformers.__version__}", "cases": cases}))
        return
    if not args.cli.exists():
        sys.exit(f"error: {args.cli} is missing: build it first (npm run build), or name it with --cli")
    if args.command == "compare":
        bad = compare(args.checkpoint, sequences(args), args.cli)
    else:
        bad = compare_random(args.count, args.seed, [int(length) for length in args.lengths.split(",")], args.cli)
    sys.exit(1 if bad else 0)


def load(checkpoint: Path) -> BltForCausalLM:
    return BltForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()


def reference(model: BltForCausalLM, ids: list[int]) -> Reference:
    """One forward of transformers; see Reference."""
    config, n, row = model.config, len(ids), torch.tensor([ids])
    with torch.no_grad():
        entropy, lengths, _ = model.model.patcher(
            row,
            patch_size=config.patch_size,
            threshold=config.patching_threshold,
            max_patch_length=config.max_patch_length,
        )
        logits = model(row, use_cache=False).logits[0]
        longer = model(torch.tensor([[*ids, 4]]), use_cache=False).logits[0, n - 1]
    if config.patching_mode != "entropy":
        lengths = torch.ones(1, n + 1, dtype=torch.long)
    return Reference(ids, lengths[0].tolist(), entropy[0], starts_from_lengths(lengths[0], n), logits, longer)


def as_golden(name: str, case: Reference) -> dict:
    """A case in the shape of golden.json."""
    n = len(case.ids)
    firsts = case.starts[0].nonzero()[:, 0].tolist()
    return {
        "name": name,
        "semantics": "hf",
        "tokens": case.ids,
        "hf_patch_lengths": case.patch_lengths,
        "entropies": case.entropies.tolist(),
        "patch_lengths_with_next": [b - a for a, b in zip(firsts, [*firsts[1:], n + 1], strict=True)],
        "logits": [[round(value, 6) for value in row] for row in case.logits.tolist()],
    }


def difference(case: Reference, logits: Tensor, entropy: Tensor, patch_lengths: list[int], capped: bool) -> Difference:
    """Numbers of another implementation against transformers'. `capped`: max_patch_length is set.

    patch_lengths may count the unseen next id or not. Capped, the last position may follow either of transformers' own
    two answers (see Reference), and whether the next id opens a patch is not compared.
    """
    n = len(case.ids)
    if logits.shape != case.logits.shape or entropy.shape != case.entropies.shape:
        raise ValueError(f"logits {tuple(logits.shape)} and entropies {tuple(entropy.shape)} for {n} ids")
    starts = starts_from_lengths(torch.tensor(patch_lengths), n)
    compared = n if capped else n + 1
    off = (logits - case.logits).abs().amax(1)
    if capped:
        off[-1] = torch.minimum(off[-1], (logits[-1] - case.longer_last).abs().max())
    return Difference(
        off.max().item(),
        (entropy - case.entropies).abs().max().item(),
        bool((starts[0, :compared] == case.starts[0, :compared]).all()),
    )


def undecided(case: Reference, threshold: float) -> bool:
    return bool(((case.entropies - threshold).abs() < UNDECIDED).any())


def compare(checkpoint: Path, rows: list[list[int]], cli: Path) -> int:
    """Prints a line a sequence; returns how many differ."""
    model, bad = load(checkpoint), 0
    for ids in rows:
        case = reference(model, ids)
        if undecided(case, model.config.patching_threshold):
            print(f"{len(ids):4} ids  skipped: an entropy lies within {UNDECIDED} of the threshold")
            continue
        answer = ask(cli, checkpoint, ids)
        found = difference(
            case,
            torch.tensor(answer["logits"]),
            torch.tensor(answer["entropies"]),
            answer["patchLengths"],
            model.config.max_patch_length is not None,
        )
        bad += found.bad
        patches = f"{case.starts.sum().item()} patches" if found.same_patches else "patches DIFFER"
        verdict = "DIFFERS" if found.bad else "ok"
        print(f"{len(ids):4} ids  logits {found.logits:.1e}  entropies {found.entropies:.1e}  {patches}  {verdict}")
    return bad


def compare_random(count: int, seed: int, lengths: list[int], cli: Path) -> int:
    source, bad = random.Random(seed), 0
    for number in range(count):
        shape, dtype, shards = varied_shape(source, number)
        with tempfile.TemporaryDirectory(prefix="blt-parity-") as folder:
            figures = make_checkpoint(Path(folder), shape, dtype, shards, seed=seed + number)
            print(f"checkpoint {number}: {shape} {dtype} shards {shards} {figures}")
            bad += compare(Path(folder), [sample_ids(1, n, number)[0].tolist() for n in lengths], cli)
    return bad


def varied_shape(source: random.Random, number: int) -> tuple[Shape, torch.dtype, str]:
    """The shape, dtype and shard size of random checkpoint `number`: every k, and each option on and off in turn."""
    grouped = number % 2 == 1

    def heads() -> tuple[int, int, int]:
        kv, repeats = source.choice([1, 2, 3]), source.choice([2, 3])
        count = kv * repeats
        return count * source.choice([4, 8, 16]), count, kv if grouped else 0

    local, latent, patcher = heads(), heads(), heads()
    shape = Shape(
        local_hidden=local[0],
        local_heads=local[1],
        local_kv_heads=local[2],
        local_ffn=source.choice([40, 96, 136]),
        encoder_layers=source.choice([1, 2]),
        decoder_layers=source.choice([1, 2, 3]),
        latent_hidden=latent[0],
        latent_layers=source.choice([1, 2, 4]),
        latent_heads=latent[1],
        latent_kv_heads=latent[2],
        latent_ffn=source.choice([72, 160]),
        patcher_hidden=patcher[0],
        patcher_layers=source.choice([1, 2, 3]),
        patcher_heads=patcher[1],
        patcher_kv_heads=patcher[2],
        patcher_ffn=source.choice([64, 80]),
        k=number % 4 + 1,
        hash_groups=source.choice(["3,4,5,6,7,8", "3,4,5", "2,6", "8"]),
        hash_vocab=source.choice([101, 512, 1009, 4096]),
        hash_functions=source.choice([1, 2, 3]),
        max_patch_length=6 if number // 2 % 2 else 0,
        mean_patch_length=source.choice([2.0, 4.0, 6.0]),
    )
    dtype = [torch.float32, torch.float16, torch.bfloat16][number % 3]
    return shape, dtype, "200KB" if number % 5 == 4 else "50GB"


def ask(cli: Path, checkpoint: Path, ids: list[int]) -> dict:
    command = ["node", str(cli), "logits", "--ids", ",".join(map(str, ids)), "--semantics", "hf", "--json"]
    done = subprocess.run([*command, "--model", str(checkpoint)], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: {' '.join(command[:3])} ... ended with code {done.returncode}: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout)


def sequences(args: argparse.Namespace) -> list[list[int]]:
    if args.ids:
        return [[int(value) for value in row.split(",")] for row in args.ids]
    return [sample_ids(1, int(length), args.seed)[0].tolist() for length in args.lengths.split(",")]


if __name__ == "__main__":
    main()
