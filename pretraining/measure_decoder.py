"""The curve of a lexicon model: bits per byte against latent steps a byte, when steps are left out where the next byte
is foreseen without one.

    python pretraining/measure_decoder.py models/default .cache/train/latents/validation --bits 0,0.2,0.5,1 \\
        [--decoder OUT/decoder.safetensors]

The rule of docs/lexicon.md, with one change: the latent is asked (at a word's opening, after an ended piece) only where
the byte model's entropy is above `--bits`; until then the byte model writes alone. 0 is the exact rule. The byte model
is the patcher with counts over it; with `--decoder` it is the local decoder, which sees the newest latent, with the
same counts. All is causal and sums to one.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from add_patcher import stored_patcher
from cache_latents import load_all
from decoder import Decoder, patcher_states, stored_decoder
from fallback import CountModel, symbols
from latent_reference import load_latent
from lexicon_reference import Trunk, _stretches
from model import BOS
from pieces import load_lexicon
from readout import OpenWord, Rule, open_word
from text_stream import BYTE_OFFSET
from train_patcher import load_patcher


TrunkPath = tuple[int, tuple[int, ...]]
# Text length, newest latent [E] and the byte at which its pieces end -> distribution of the next symbol [257].
ByteModel = Callable[[int, torch.Tensor, int], np.ndarray]


@dataclass
class Curve:
    """Bits and latent work of some bytes; `alone`: bytes that the byte model wrote with no reading open."""

    size: int = 0
    bits: float = 0.0
    steps: int = 0
    positions: int = 0
    alone: int = 0

    def add(self, other: "Curve") -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


class QuietScore:
    """One text scored byte by byte, in order: what is asked of the latent depends on what was asked before."""

    def __init__(self, trunk: Trunk, rule: Rule, byte_model: ByteModel, quiet: float, masses: dict):
        self.trunk, self.rule, self.byte_model, self.quiet, self.masses = trunk, rule, byte_model, quiet, masses
        self.path: TrunkPath = (1, ())
        self.newest, self.newest_end = trunk.states[0], 0
        self.result = Curve(len(trunk.text))
        self.known: list[np.ndarray] = []

    def run(self) -> Curve:
        for start, opened, first, last in _stretches(self.rule.word_limit, self.trunk.text):
            self._word(start, opened, first, last)
        return self.result

    def _word(self, start: int, opened: int, first: int, last: int) -> None:
        text, word = self.trunk.text, None
        for length in range(first, last + 1):
            known = self._know(length)
            if word is not None:
                self._write(word, length)
            if self._asks(known):
                if word is None:
                    word = self._open(start, opened)
                    for at in range(opened + 1, length + 1):
                        self._write(word, at)
                        self._refresh(word, start, self.known[at])
                self._refresh(word, start, known)
                # What was asked just now is known to the byte model from here on.
                known = self.known[length] = self.byte_model(length, self.newest, self.newest_end)
            distribution = known if word is None else self._distribution(word, known, length)
            if length < len(text):
                self.result.bits -= math.log2(distribution[text[length]])
                self.result.alone += word is None

    def _distribution(self, word: OpenWord, known: np.ndarray, length: int) -> np.ndarray:
        return word.distribution(known)

    def _know(self, length: int) -> np.ndarray:
        self.known.append(self.byte_model(length, self.newest, self.newest_end))
        return self.known[length]

    def _asks(self, known: np.ndarray) -> bool:
        return -(known * np.log2(known.clip(1e-300))).sum() >= self.quiet

    def _write(self, word: OpenWord, length: int) -> None:
        byte = self.trunk.text[length - 1]
        word.write(byte, float(self.known[length - 1][byte]))

    def _open(self, start: int, opened: int) -> OpenWord:
        cut = self.trunk.lexicon.cut(self.trunk.text[start:opened])
        pieces = [piece for piece, _ in cut]
        masses = [self._ask(start, tuple(pieces[:count]), start) for count in range(len(cut), -1, -1)]
        return open_word(self.trunk.table, self.rule, cut, masses[::-1], self.trunk.text[start:opened])

    def _refresh(self, word: OpenWord, start: int, known: np.ndarray) -> None:
        while self._asks(known) and (ended := word.stale()):
            word.refresh(ended, self._ask(start, ended.pieces, start + ended.end))

    def _ask(self, start: int, pieces: tuple[int, ...], end: int) -> np.ndarray:
        path = (self.trunk.before[start], pieces)
        if path not in self.masses:
            (mass,) = self.trunk.masses([path])
            state = self.trunk.branches.get(path)
            if state is None:
                state = self.trunk.states[path[0] + len(pieces) - 1]
            self.masses[path] = (mass.astype(np.float32), state)
        new = self.trunk.beyond(self.path, path)
        if new:
            self.path = path
            self.result.steps += 1
            self.result.positions += new
        mass, self.newest = self.masses[path]
        self.newest_end = end
        return mass.astype(np.float64)


def byte_model_of(text: bytes, logits: torch.Tensor, states: torch.Tensor, decoder: Decoder | None) -> ByteModel:
    """Patcher logits [n + 1, 260] and states [n + 1, D] of the text -> its byte model."""
    alone, counts = symbols(logits), CountModel(3, 6, 3)

    def after(length: int, newest: torch.Tensor, end: int) -> np.ndarray:
        known = alone[length]
        if decoder is not None:
            offset = torch.tensor([length - end])
            known = symbols(decoder(states[length : length + 1], newest[None], offset))[0]
        return counts(text[:length], known)

    return after


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("latents", type=Path, help="held-out texts, as cache_latents.py keeps them")
    parser.add_argument("--bits", default="0,0.1,0.2,0.4,0.7,1", help="entropies of the byte model, by commas")
    parser.add_argument("--patcher", type=Path, help="a patcher.safetensors of the checkpoint's shape; else its own")
    parser.add_argument("--decoder", type=Path)
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--longest", type=int, default=1500, help="bytes of one file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    latent, lexicon, patcher = load_latent(args.checkpoint), load_lexicon(args.checkpoint), stored_patcher(args.checkpoint)
    if args.patcher:
        load_patcher(patcher, args.patcher)
    decoders: dict[str, Decoder | None] = {"patcher": None}
    if args.decoder:
        decoders["decoder"] = stored_decoder(args.decoder, patcher.config)
    limits = [float(each) for each in args.bits.split(",")]
    sums = {(name, limit): Curve() for name in decoders for limit in limits}
    for cached in load_all(args.latents, lexicon)[: args.files]:
        text = cached.text[: args.longest]
        trunk, masses = Trunk(latent, lexicon, text), {}
        ids = torch.tensor([[BOS, *(byte + BYTE_OFFSET for byte in text)]])
        states = patcher_states(patcher, ids)[0]
        logits = patcher.lm_head(patcher.norm(states))
        for name, decoder in decoders.items():
            for limit in limits:
                byte_model = byte_model_of(text, logits, states, decoder)
                sums[name, limit].add(QuietScore(trunk, Rule(), byte_model, limit, masses).run())
        print("\n".join(table(sums, limits[0])), flush=True)


def table(sums: dict[tuple[str, float], Curve], first: float) -> list[str]:
    """The curve so far, beside the patcher's first point."""
    exact = sums["patcher", first]
    lines = ["", f"{exact.size} bytes", ""]
    lines.append("| byte model | asks above, bits | bpb | more | steps a byte | of the first | positions a byte | bytes without a reading |")
    lines.append("|---|---|---|---|---|---|---|---|")
    for (name, limit), curve in sums.items():
        cells = [f"{curve.bits / curve.size:.4f}", f"{(curve.bits - exact.bits) / curve.size:+.4f}"]
        cells += [f"{curve.steps / curve.size:.4f}", f"{curve.steps / exact.steps:.3f}"]
        cells += [f"{curve.positions / curve.size:.4f}", f"{curve.alone / curve.size:.3f}"]
        lines.append(f"| {name} | {limit:g} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
