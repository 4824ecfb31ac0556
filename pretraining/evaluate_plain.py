"""Bits per byte of a plain checkpoint on held-out files, by language.

    python pretraining/evaluate_plain.py models/tiny --data .cache/data/validation
    python pretraining/evaluate_plain.py CHECKPOINT --files .cache/evaluation/test --transformers --device cuda

`--files` names a folder with a folder of whole files a language (evaluate.py files). Every file is scored from its first byte, with all it holds before a byte as context; files longer than --longest are
scored on their beginning. The loss of predicting the end of the file is left out, as are the special ids.
"""

import argparse
import json
import lzma
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import BltForCausalLM

from checkpoint import load_checkpoint
from model import BOS, Blt
from text_stream import read_split

LANGUAGES = {".py": "Python", ".pyi": "Python", ".md": "Markdown", ".json": "JSON", ".css": "CSS", ".html": "HTML"}
LANGUAGES |= dict.fromkeys([".ts", ".mts", ".cts", ".tsx"], "TypeScript")
LANGUAGES |= dict.fromkeys([".js", ".mjs", ".cjs", ".jsx"], "JavaScript")


@dataclass
class Sum:
    """Totals over files. bits: of the model; xz: of the same bytes compressed file by file."""

    files: int = 0
    bytes: int = 0
    bits: float = 0.0
    patcher_bits: float = 0.0
    patches: int = 0
    xz: int = 0
    transformers_bits: float = 0.0

    def add(self, other: "Sum") -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def line(self) -> dict:
        theirs = {"transformers_bpb": round(self.transformers_bits / self.bytes, 4)} if self.transformers_bits else {}
        return {
            "files": self.files,
            "bytes": self.bytes,
            "bpb": round(self.bits / self.bytes, 4),
            **theirs,
            "patcher_bpb": round(self.patcher_bits / self.bytes, 4),
            "patch_length": round(self.bytes / self.patches, 3),
            "xz_bpb": round(self.xz / self.bytes, 3),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, default=Path(".cache/data/validation"), help="without .bin and .json")
    parser.add_argument("--files", type=Path, help="a folder of files to score whole, instead of --data")
    parser.add_argument("--longest", type=int, default=16384, help="bytes scored of one file of --data")
    parser.add_argument("--package-bytes", type=int, default=200_000, help="bytes scored of one package of --data")
    parser.add_argument("--transformers", action="store_true", help="also by transformers' own forward")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = load_checkpoint(args.checkpoint).to(args.device)
    theirs = BltForCausalLM.from_pretrained(args.checkpoint, dtype=torch.float32).eval().to(args.device) if args.transformers else None
    totals: dict[str, Sum] = defaultdict(Sum)
    texts = texts_of(args.files) if args.files else held_out(args.data, args.package_bytes, args.longest)
    for language, text in texts:
        found = score(model, text)
        if theirs is not None:
            found.transformers_bits = transformers_bits(theirs, text)
        totals["all"].add(found)
        totals[language].add(found)
    print(json.dumps({name: totals[name].line() for name in sorted(totals, key=str.lower)}, indent=1))


def texts_of(folder: Path) -> Iterator[tuple[str, bytes]]:
    """(language, whole text) of FOLDER/<language>/<file>."""
    paths = sorted(folder.glob("*/*"))
    if not paths:
        raise SystemExit(f"error: {folder} has no files in a folder a language; make it with evaluate.py files")
    yield from ((path.parent.name, path.read_bytes()) for path in paths)


def held_out(data: Path, package_bytes: int, longest: int) -> Iterator[tuple[str, bytes]]:
    """(language, first bytes) of prepared documents, not too many of one package."""
    spent: dict[str, int] = defaultdict(int)
    for package, path, _, text in read_split(data):
        if spent[package] < package_bytes:
            spent[package] += len(text[:longest])
            yield LANGUAGES.get(Path(path).suffix, "other"), text[:longest]


def transformers_bits(model: BltForCausalLM, text: bytes) -> float:
    """The same by transformers' own forward. It has no windows, so they are given to it as an attention mask."""
    config, n = model.config, len(text)
    ids = torch.tensor([[BOS] + [byte + 4 for byte in text]], device=model.device)
    windows = {getattr(each, "sliding_window", None) for each in (config.patcher_config, config.encoder_config, config.decoder_config)}
    if len(windows) != 1:
        raise ValueError("networks with different windows cannot share a mask")
    mask = window_mask(n, windows.pop()).to(model.device)
    with torch.no_grad():
        _, lengths, _ = model.model.patcher(
            ids[:, :-1],
            attention_mask=mask,
            patch_size=config.patch_size,
            threshold=config.patching_threshold,
            max_patch_length=config.max_patch_length,
        )
        logits = model(ids[:, :-1], patch_lengths=lengths, attention_mask=mask, use_cache=False).logits[0]
    return F.cross_entropy(logits, ids[0, 1:], reduction="sum").item() / math.log(2)


def window_mask(n: int, window: int | None) -> Tensor:
    """What is added to attention scores, [1, 1, n, n]: 0 where visible, else the least float."""
    back = torch.arange(n)[:, None] - torch.arange(n)
    visible = (back >= 0) & (back < (n if window is None else window))
    return torch.where(visible, 0.0, torch.finfo(torch.float32).min)[None, None]


def score(model: Blt, text: bytes) -> Sum:
    """One file, alone."""
    ids = torch.tensor([[BOS] + [byte + 4 for byte in text]], device=model.lm_head.weight.device)
    x, y = ids[:, :-1], ids[0, 1:]
    with torch.no_grad():
        starts = model.patch_starts(x)
        nats = F.cross_entropy(model(x, starts)[0], y, reduction="sum").item()
        patcher_nats = F.cross_entropy(model.patcher_logits(x)[0], y, reduction="sum").item()
    # Patch 0 is BOS alone: it holds no byte.
    patches = int(starts[:, :-1].sum()) - 1 or 1
    xz = 8 * len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))
    return Sum(1, len(text), nats / math.log(2), patcher_nats / math.log(2), patches, xz)


if __name__ == "__main__":
    main()
