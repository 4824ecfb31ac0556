"""An entropy patcher on held-out projects: bits per byte by language beside the counting model and what the
fallback makes of the two, the threshold for wanted patch lengths, and where its patches start.

    python pretraining/measure_patcher.py .cache/train/patcher/patcher.safetensors --shape w192x4 --files 60
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy
import torch

from fallback import EVEN, EVEN_SHARE, CountModel, patcher_logits, symbols
from model import Patcher, entropies
from patch_table import patch_table
from piece_starts import shifted_starts
from pieces import load_lexicon
from readout import SYMBOLS
from text_stream import read_split
from train_patcher import SHAPES, load_patcher

# (shortest, longest, trust) of the counts over the patcher; the first is the runtime's (byte-model.ts).
COUNTS = ((3, 6, 3), (2, 5, 3), (3, 8, 4), (3, 6, 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patcher", type=Path)
    parser.add_argument("--shape", choices=sorted(SHAPES), required=True)
    parser.add_argument("--data", type=Path, default=Path(".cache/data/validation"), help="without .bin and .json")
    parser.add_argument("--files", type=int, default=60)
    parser.add_argument("--longest", type=int, default=4096, help="bytes of one file")
    parser.add_argument("--lexicon", type=Path, default=Path("models/default"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    patcher = Patcher(SHAPES[args.shape], 260)
    load_patcher(patcher, args.patcher)
    lexicon = load_lexicon(args.lexicon)
    bits: dict[str, numpy.ndarray] = defaultdict(lambda: numpy.zeros(2 + len(COUNTS)))
    sizes: dict[str, int] = defaultdict(int)
    entropy, starts = [], []
    for language, text in sample(args.data, args.files, args.longest):
        logits = patcher_logits(patcher, text)
        own, counted = symbols(logits), counts(text)
        at = numpy.arange(len(text)), list(text)
        found = [-numpy.log2(each[at]).sum() for each in (own, counted)]
        found += [-numpy.log2(with_counts(own[at], text, *counting)).sum() for counting in COUNTS]
        for key in (language, "all"):
            bits[key] += found
            sizes[key] += len(text)
        entropy.append(entropies(logits).numpy()[:-1])
        starts.append(shifted_starts(lexicon, text)[: len(text)])
    print("| language | bytes | patcher | counting | " + " | ".join(f"patcher, counts of {a} to {b}, trust {c}" for a, b, c in COUNTS) + " |")
    print("|---" * (4 + len(COUNTS)) + "|")
    for language in sorted(sizes, key=lambda each: (each == "all", each)):
        cells = [f"{each / sizes[language]:.3f}" for each in bits[language]]
        print(f"| {language} | {sizes[language]} | {' | '.join(cells)} |")
    for line in patch_table(numpy.concatenate(entropy), numpy.concatenate(starts)):
        print(line)


def sample(data: Path, files: int, longest: int) -> list[tuple[str, bytes]]:
    """(language, first bytes) of held-out documents, drawn once for all."""
    all_files = read_split(data)
    order = numpy.random.default_rng(1).permutation(len(all_files))[:files]
    return [(language, text[:longest]) for _, _, language, text in (all_files[i] for i in order)]


def counts(text: bytes) -> numpy.ndarray:
    """What the counting model gives after each beginning, [n + 1, 257]."""
    model = CountModel()
    return numpy.stack([model(text[:length]) for length in range(len(text) + 1)]).reshape(-1, SYMBOLS)


def with_counts(known: numpy.ndarray, text: bytes, shortest: int, longest: int, trust: float) -> numpy.ndarray:
    """Probability of each byte [n] by the patcher -> with what followed its last bytes earlier in the text."""
    followers: dict[bytes, dict[int, int]] = defaultdict(dict)
    blended = known.copy()
    for at, byte in enumerate(text):
        for order in range(shortest, min(longest, at) + 1):
            counted = followers.get(text[at - order : at])
            if not counted:
                break
            rest = trust * len(counted)
            blended[at] = (blended[at] * rest + counted.get(byte, 0)) / (sum(counted.values()) + rest)
        for order in range(shortest, min(longest, at) + 1):
            counted = followers[text[at - order : at]]
            counted[byte] = counted.get(byte, 0) + 1
    return (1 - EVEN_SHARE) * blended + EVEN_SHARE * EVEN


if __name__ == "__main__":
    main()
