"""Bits per byte of a plain checkpoint on held-out files, by language.

    python pretraining/evaluate_plain.py models/tiny --data .cache/data/validation

Every file is scored from its first byte, with all it holds before a byte as context; files longer than --longest are
scored on their beginning. The loss of predicting the end of the file is left out, as are the special ids.
"""

import argparse
import json
import lzma
import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import BltForCausalLM

from checkpoint import load_checkpoint
from model import BOS, Blt

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

    def add(self, other: "Sum") -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def line(self) -> dict:
        return {
            "files": self.files,
            "bytes": self.bytes,
            "bpb": round(self.bits / self.bytes, 4),
            "patcher_bpb": round(self.patcher_bits / self.bytes, 4),
            "patch_length": round(self.bytes / self.patches, 3),
            "xz_bpb": round(self.xz / self.bytes, 3),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, default=Path(".cache/data/validation"), help="without .bin and .json")
    parser.add_argument("--longest", type=int, default=16384, help="bytes scored of one file")
    parser.add_argument("--package-bytes", type=int, default=200_000, help="bytes scored of one package")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = load_checkpoint(args.checkpoint)
    totals: dict[str, Sum] = defaultdict(Sum)
    spent: dict[str, int] = defaultdict(int)
    texts = args.data.with_suffix(".bin").read_bytes().split(b"\xff")[:-1]
    listing = json.loads(args.data.with_suffix(".json").read_text())
    for (package, path, _), text in zip(listing, texts, strict=True):
        if spent[package] >= args.package_bytes:
            continue
        found = score(model, text[: args.longest])
        spent[package] += found.bytes
        totals["all"].add(found)
        totals[LANGUAGES.get(Path(path).suffix, "other")].add(found)
    print(json.dumps({name: totals[name].line() for name in sorted(totals, key=str.lower)}, indent=1))


def transformers_bits(model: BltForCausalLM, text: bytes) -> float:
    """The same by transformers' own forward. It has no windows, so they are given to it as an attention mask."""
    config, n = model.config, len(text)
    ids = torch.tensor([[BOS] + [byte + 4 for byte in text]])
    windows = {getattr(each, "sliding_window", None) for each in (config.patcher_config, config.encoder_config, config.decoder_config)}
    if len(windows) != 1:
        raise ValueError("networks with different windows cannot share a mask")
    mask = window_mask(n, windows.pop())
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
    ids = torch.tensor([[BOS] + [byte + 4 for byte in text]])
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
