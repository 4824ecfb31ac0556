"""Line remainders at random columns: the byte readout beside the base model's own tokens, plain and healed.

    python pretraining/measure_completion.py models/default FILE... --cases 8

Greedy. `exact`: all of the rest of the line; `matched`: the common prefix's share of it. Cases inside words (the
characters on both sides are word characters) and at boundaries are counted apart.
"""

import argparse
import random
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from latent_reference import LatentCache, LatentTransformer, load_latent
from lexicon_reference import LexiconReader
from measure_lexicon import CountModel
from pieces import Lexicon, load_lexicon
from readout import Fallback, Rule

PREFIX, LONGEST = 2000, 80
WORD = re.compile(rb"[A-Za-z0-9_]")


def by_bytes(latent: LatentTransformer, lexicon: Lexicon, rule: Rule, prefix: bytes, steps: list[int]) -> bytes:
    reader = LexiconReader(latent, lexicon, rule, remembered(CountModel()), prefix)
    before = reader.steps
    while len(reader.text) - len(prefix) < LONGEST:
        byte = int(reader.distribution()[:256].argmax())
        if byte == ord("\n"):
            break
        reader.append(byte)
    steps.append(reader.steps - before)
    return reader.text[len(prefix) :]


def by_tokens(latent: LatentTransformer, lexicon: Lexicon, prefix: bytes, healed: bool, steps: list[int]) -> bytes:
    """Greedy pieces; healed: the last piece is given back, and pieces must spell what it spelt first."""
    cut = [piece for piece, _ in lexicon.cut(prefix)]
    owed = lexicon.pieces[cut.pop()] if healed and cut else b""
    cache, owed_at_first = LatentCache(latent.config), len(owed)
    states = latent.append([lexicon.bos, *cut], cache)
    written = b""
    while b"\n" not in written[owed_at_first:] and len(written) < LONGEST + owed_at_first:
        logits = latent.logits(states[-1])
        logits[list(lexicon.special)] = -torch.inf
        for piece in logits.argsort(descending=True).tolist():
            spelt = lexicon.pieces[piece]
            if spelt.startswith(owed) or owed.startswith(spelt):
                break
        written += spelt
        owed = owed[len(spelt) :]
        states = latent.append([piece], cache)
        steps.append(1)
    return written[owed_at_first:].split(b"\n")[0]


def remembered(fallback: Fallback) -> Fallback:
    """A byte model that learns as it reads, asked again for a text it has read past; the text must only grow."""
    known: dict[int, np.ndarray] = {}

    def recall(text: bytes) -> np.ndarray:
        if len(text) not in known:
            known[len(text)] = fallback(text)
        return known[len(text)]

    return recall


def cases(text: bytes, count: int, generator: random.Random) -> list[tuple[int, bool]]:
    """(offset, inside a word) of columns with something left to write, half inside words, half at boundaries."""
    found: dict[bool, list[int]] = {True: [], False: []}
    for line in re.finditer(rb"[^\n]+", text):
        rest = len(line[0].rstrip())
        first = len(line[0]) - len(line[0].lstrip())
        for column in range(max(first, 1), rest):
            at = line.start() + column
            inside = bool(WORD.match(text[at - 1 : at]) and WORD.match(text[at : at + 1]))
            if at >= 200 and text[at] < 128:
                found[inside].append(at)
    return [(at, inside) for inside in found for at in generator.sample(found[inside], count // 2)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--cases", type=int, default=8, help="a file, half of them inside words")
    parser.add_argument("--thresholds", default="0.1,0.3")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    latent, lexicon = load_latent(arguments.checkpoint), load_lexicon(arguments.checkpoint)
    rules = {f"bytes, refresh > {t}": Rule(refresh_threshold=float(t)) for t in arguments.thresholds.split(",")}
    tally: dict[tuple[str, bool], list[tuple[bool, float]]] = defaultdict(list)
    work: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for path in arguments.files:
        text = path.read_bytes()
        for at, inside in cases(text, arguments.cases, random.Random(path.name)):
            prefix, wanted = text[max(0, at - PREFIX) : at], text[at:].split(b"\n")[0].rstrip()
            for name in ["tokens", "tokens, healed", *rules]:
                written, steps = work[name]
                if name in rules:
                    got = by_bytes(latent, lexicon, rules[name], prefix, steps)
                else:
                    got = by_tokens(latent, lexicon, prefix, "healed" in name, steps)
                got = got.rstrip()
                same = next((i for i, (a, b) in enumerate(zip(got, wanted)) if a != b), min(len(got), len(wanted)))
                tally[name, inside].append((got == wanted, same / len(wanted)))
                written.append(len(got))
    print("| | inside words: exact, matched | at boundaries: exact, matched | all: exact, matched | bytes a latent step |")
    print("|---|---|---|---|---|")
    for name, (written, steps) in work.items():
        row = [np.mean(tally[name, inside], axis=0) for inside in (True, False)]
        row.append(np.mean(tally[name, True] + tally[name, False], axis=0))
        print(f"| {name} | " + " | ".join(f"{e:.3f}, {m:.3f}" for e, m in row) + f" | {sum(written) / sum(steps):.2f} |")
    print(f"{len(tally['tokens', True])} + {len(tally['tokens', False])} cases")


if __name__ == "__main__":
    main()
