"""Line remainders at random columns: the byte readout beside the base model's own tokens, plain and healed.

    python pretraining/measure_completion.py models/default FILE... --cases 8

Greedy. `exact`: all of the rest of the line; `matched`: the common prefix's share of it. Cases inside words (the
characters on both sides are word characters) and at boundaries are counted apart.
"""

import argparse
import random
import re
from collections import defaultdict
from os.path import commonprefix
from pathlib import Path

import numpy as np
import torch

from latent_reference import load_latent
from lexicon_reference import LexiconReader
from fallback import CountModel
from pieces import load_lexicon
from readout import Rule

PREFIX, LONGEST = 2000, 80
WORD = re.compile(rb"[A-Za-z0-9_]")


def by_bytes(reader: LexiconReader, prefix: bytes, rule: Rule) -> bytes:
    """Greedy bytes to the end of the line; the reader may hold any continuation of `prefix`."""
    reader.rule = rule
    reader.truncate(len(prefix))
    while len(reader.text) - len(prefix) < LONGEST:
        byte = int(reader.distribution()[:256].argmax())
        if byte == ord("\n"):
            break
        reader.append(byte)
    return reader.text[len(prefix) :]


def by_tokens(reader: LexiconReader, prefix: bytes, healed: bool) -> bytes:
    """Greedy pieces; healed: the last piece is given back, and pieces must spell what it spelt first."""
    lexicon = reader.lexicon
    path = [lexicon.bos, *(piece for piece, _ in lexicon.cut(prefix))]
    owed = lexicon.pieces[path.pop()] if healed else b""
    given_back, written = len(owed), b""
    while b"\n" not in written[given_back:] and len(written) < LONGEST + given_back:
        logits = reader.latent.logits(reader.state_after(path))
        logits[list(lexicon.special)] = -torch.inf
        for piece in logits.argsort(descending=True).tolist():
            spelt = lexicon.pieces[piece]
            if spelt.startswith(owed) or owed.startswith(spelt):
                break
        written += spelt
        owed = owed[len(spelt) :]
        path.append(piece)
    return written[given_back:].split(b"\n")[0]


def afresh(text: bytes) -> np.ndarray:
    """Counts of exactly this text: continuations are tried and taken back, and nothing may be learnt from them."""
    return CountModel()(text)


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
    for path in arguments.files:
        text = path.read_bytes()
        for at, inside in cases(text, arguments.cases, random.Random(path.name)):
            prefix, wanted = text[max(0, at - PREFIX) : at], text[at:].split(b"\n")[0].rstrip()
            reader = LexiconReader(latent, lexicon, Rule(), afresh, prefix)
            for name in ["tokens", "tokens, healed", *rules]:
                if name in rules:
                    got = by_bytes(reader, prefix, rules[name]).rstrip()
                else:
                    got = by_tokens(reader, prefix, "healed" in name).rstrip()
                same = len(commonprefix([got, wanted]))
                tally[name, inside].append((got == wanted, same / len(wanted)))
        print(path.name, flush=True)
    print("| exact, matched | inside words | at boundaries | all |")
    print("|---|---|---|---|")
    for name in ["tokens", "tokens, healed", *rules]:
        row = [np.mean(tally[name, inside], axis=0) for inside in (True, False)]
        row.append(np.mean(tally[name, True] + tally[name, False], axis=0))
        print(f"| {name} | " + " | ".join(f"{exact:.3f}, {matched:.3f}" for exact, matched in row) + " |")
    print(f"{len(tally['tokens', True])} + {len(tally['tokens', False])} cases")


if __name__ == "__main__":
    main()
