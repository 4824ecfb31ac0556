"""The text of an editor read by the latent transformer and the lexicon: the reference of docs/lexicon.md.

`LexiconReader` goes byte by byte (append, truncate), `score` reads a whole text with the latent positions of many
words side by side; both give the same distributions. D is the latent's width, S the readable pieces.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latent_reference import LatentCache, LatentTransformer
from pieces import Lexicon, Words, scan
from readout import EOS, SYMBOLS, Fallback, Rule, SortedPieces, open_word, opening


class LexiconReader:
    """A text that grows byte by byte, and the distribution of its next byte.

    `steps` counts runs of the latent transformer, `positions` the positions they computed.
    """

    def __init__(
        self, latent: LatentTransformer, lexicon: Lexicon, rule: Rule, fallback: Fallback, text: bytes = b""
    ):
        self.latent, self.lexicon, self.rule, self.fallback = latent, lexicon, rule, fallback
        self.table = SortedPieces(lexicon)
        self.words = Words(text)
        self.cache = LatentCache(latent.config)
        self.path = [lexicon.bos]
        self.states = latent.append(self.path, self.cache)  # [positions, D]
        self.steps = self.positions = 0
        self._open()

    @property
    def text(self) -> bytes:
        return bytes(self.words.text)

    def distribution(self) -> np.ndarray:
        """Of the next byte and EOS, [257]."""
        return self.word.distribution(self.fallback(self.text))

    def append(self, byte: int) -> None:
        self.words.append(byte)
        if opening(self.words, self.rule.word_limit) == self.opened:
            self._write(len(self.words.text) - 1)
        else:
            self._open()

    def truncate(self, length: int) -> None:
        self.words.truncate(length)
        self._open()

    def _open(self) -> None:
        """The state is a function of the text alone: open its last word, then apply the rule byte by byte."""
        self.opened = start, opened = opening(self.words, self.rule.word_limit)
        text = self.text
        self.before = [self.lexicon.bos, *(piece for piece, _ in self.lexicon.cut(text[:start]))]
        cut = self.lexicon.cut(text[start:opened])
        masses = [self._mass([piece for piece, _ in cut[:count]]) for count in range(len(cut), -1, -1)]
        self.word = open_word(self.table, self.rule, cut, masses[::-1], text[start:opened])
        for at in range(opened, len(text)):
            self._write(at)

    def _write(self, at: int) -> None:
        text = self.text
        self.word.write(text[at], float(self.fallback(text[:at])[text[at]]))
        while ended := self.word.stale():
            self.word.refresh(ended, self._mass(ended.pieces))

    def _mass(self, pieces: Sequence[int]) -> np.ndarray:
        """What the latent says after the settled words and `pieces`, [S + 1]."""
        return self.table.probabilities(self.latent.logits(self.state_after([*self.before, *pieces])))

    def state_after(self, path: list[int]) -> Tensor:
        """The latent's state [D] after a path from BOS; positions that are still cached are not run again."""
        same = _shared(path, self.path)
        if same < len(path):
            self.cache.length = same
            self.states = torch.cat([self.states[:same], self.latent.append(path[same:], self.cache)])
            self.path = path.copy()
            self.steps += 1
            self.positions += len(path) - same
        return self.states[len(path) - 1]


def _shared(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common prefix."""
    same = 0
    while same < min(len(a), len(b)) and a[same] == b[same]:
        same += 1
    return same


@dataclass
class Score:
    """Of each byte and then of EOS, [n + 1]: `log_probability` in nats, and the `fallback_part` of the distribution it
    came from. `steps` and `positions` are LexiconReader's counts; `distributions` [n + 1, 257] if asked for."""

    log_probability: np.ndarray
    fallback_part: np.ndarray
    steps: int
    positions: int
    distributions: np.ndarray | None


# Words that are read side by side in `score`.
GROUP = 64


def score(trunk: "Trunk", rule: Rule, fallback: Fallback, full: bool = False) -> Score:
    """Every byte of the trunk's text by the distribution before it.

    The pieces of the whole text are the trunk: one causal pass. A word's readings depend on the trunk before the word
    and on nothing else, so that many words are read side by side and what they ask of the latent runs in one batch.
    """
    text = trunk.text
    byte_model = [fallback(text[:length]) for length in range(len(text) + 1)]
    stretches = _stretches(rule.word_limit, text)
    result = Score(np.zeros(len(text) + 1), np.zeros(len(text) + 1), 0, 0, None)
    if full:
        result.distributions = np.zeros((len(text) + 1, SYMBOLS))
    path: tuple[int, tuple[int, ...]] = (1, ())
    for first in range(0, len(stretches), GROUP):
        bounds = stretches[first : first + GROUP]
        group = [_Stretch(trunk, rule, byte_model, each, result) for each in bounds]
        waiting = group
        while waiting := [stretch for stretch in waiting if not stretch.done]:
            masses = trunk.masses([(stretch.before, stretch.asked[-1]) for stretch in waiting])
            for stretch, mass in zip(waiting, masses):
                stretch.answer(mass)
        for stretch in group:
            for pieces in stretch.asked:
                new = trunk.beyond(path, (stretch.before, pieces))
                if new:
                    path = (stretch.before, pieces)
                    result.steps += 1
                    result.positions += new
    return result


def _stretches(word_limit: int, text: bytes) -> list[tuple[int, int, int, int]]:
    """Runs of text lengths with the same `opening`: (word's start, opened, first length, last length)."""
    words = Words()
    stretches = [(0, 0, 0, 0)]
    for length in range(1, len(text) + 1):
        words.append(text[length - 1])
        start, opened = opening(words, word_limit)
        if (start, opened) == stretches[-1][:2]:
            stretches[-1] = (*stretches[-1][:3], length)
        else:
            stretches.append((start, opened, length, length))
    return stretches


class _Stretch:
    """An open word on its way through its bytes; it stops where it needs the latent (`asked[-1]`)."""

    def __init__(
        self,
        trunk: "Trunk",
        rule: Rule,
        byte_model: list[np.ndarray],
        bounds: tuple[int, int, int, int],
        result: Score,
    ):
        self.trunk, self.rule, self.byte_model, self.bounds, self.result = trunk, rule, byte_model, bounds, result
        self.before = trunk.before[bounds[0]]
        self.asked: list[tuple[int, ...]] = []
        self.done = False
        self.reading = self._read()
        self.asked.append(next(self.reading))

    def answer(self, mass: np.ndarray) -> None:
        try:
            self.asked.append(self.reading.send(mass))
        except StopIteration:
            self.done = True

    def _read(self) -> Generator[tuple[int, ...], np.ndarray, None]:
        (start, opened, first, last), byte_model, result = self.bounds, self.byte_model, self.result
        text, cut = self.trunk.text, self.trunk.lexicon.cut(self.trunk.text[start:opened])
        masses = []
        for count in range(len(cut), -1, -1):
            masses.append((yield tuple(piece for piece, _ in cut[:count])))
        word = open_word(self.trunk.table, self.rule, cut, masses[::-1], text[start:opened])
        for length in range(opened, last + 1):
            if length > opened:
                word.write(text[length - 1], float(byte_model[length - 1][text[length - 1]]))
                while ended := word.stale():
                    word.refresh(ended, (yield ended.pieces))
            if length >= first:
                distribution = word.distribution(byte_model[length])
                result.log_probability[length] = np.log(distribution[text[length] if length < len(text) else EOS])
                result.fallback_part[length] = word.fallback_part()
                if result.distributions is not None:
                    result.distributions[length] = distribution


class Trunk:
    """The cut of a whole text and the latent's states after each of its pieces; branches are run beside it.

    A path is (positions of the trunk before a word, pieces since then).
    """

    def __init__(self, latent: LatentTransformer, lexicon: Lexicon, text: bytes):
        self.latent, self.lexicon, self.text, self.table = latent, lexicon, text, SortedPieces(lexicon)
        self.branches: dict[tuple[int, tuple[int, ...]], Tensor] = {}
        self.pieces = [lexicon.bos]
        self.before = {0: 1}  # start of a word -> positions before it
        words, tail = scan(text)
        for start, end in [*words, *((at, at + 1) for at in range(tail, len(text)))]:
            self.before[start] = len(self.pieces)
            self.pieces += [piece for piece, _ in lexicon.merge(text[start:end])]
        self.before.setdefault(tail, len(self.pieces))
        self.cache = LatentCache(latent.config, len(self.pieces))
        runs = [latent.append(self.pieces[i : i + 256], self.cache) for i in range(0, len(self.pieces), 256)]
        self.states = torch.cat(runs)

    def masses(self, paths: list[tuple[int, tuple[int, ...]]]) -> list[np.ndarray]:
        """What the latent says after each path, [S + 1]."""
        branches = [path for path in paths if self._on_trunk(*path) < len(path[1])]
        if new := [path for path in branches if path not in self.branches]:
            self.branches |= zip(new, self._run(new))
        states = [
            self.branches[path] if path in self.branches else self.states[path[0] + len(path[1]) - 1] for path in paths
        ]
        return [self.table.probabilities(logits) for logits in self.latent.logits(torch.stack(states))]

    def beyond(self, kept: tuple[int, tuple[int, ...]], path: tuple[int, tuple[int, ...]]) -> int:
        """Positions of `path` that a cache which holds `kept` lacks."""
        least = min(kept[0], path[0])
        held = [*self.pieces[least : kept[0]], *kept[1]]
        asked = [*self.pieces[least : path[0]], *path[1]]
        return len(asked) - _shared(asked, held)

    def _on_trunk(self, before: int, pieces: Sequence[int]) -> int:
        """How many of `pieces` are the trunk's."""
        return _shared(pieces, self.pieces[before : before + len(pieces)])

    def _run(self, paths: list[tuple[int, tuple[int, ...]]]) -> list[Tensor]:
        """Last states of branches, all in one run: each sees the trunk up to where it branches off, and itself."""
        pieces, positions, roots, lengths = [], [], [], []
        for before, branch in paths:
            on_trunk = self._on_trunk(before, branch)
            new = branch[on_trunk:]
            pieces += new
            positions += range(before + on_trunk, before + len(branch))
            roots += [before + on_trunk] * len(new)
            lengths.append(len(new))
        trunk = torch.arange(max(roots))[None] < torch.tensor(roots)[:, None]
        own = torch.block_diag(*(torch.ones(length, length).tril() for length in lengths)).bool()
        states = self.latent.run(pieces, torch.tensor(positions), torch.cat([trunk, own], 1), self.cache)[0]
        return [states[end - 1] for end in np.cumsum(lengths)]


def score_by_tokens(latent: LatentTransformer, lexicon: Lexicon, text: bytes) -> np.ndarray:
    """The base model's own measure: nats of each piece of the whole text's canonical cut, given those before it."""
    pieces = [piece for piece, _ in lexicon.cut(text)]
    cache = LatentCache(latent.config, len(pieces) + 1)
    sequence, nats = [lexicon.bos, *pieces], []
    for i in range(0, len(pieces), 256):
        chunk = sequence[i : i + 256][: len(pieces) - i]
        logits = latent.logits(latent.append(chunk, cache)).log_softmax(-1)
        nats.append(-logits[torch.arange(len(chunk)), torch.tensor(pieces[i : i + len(chunk)])])
    return torch.cat(nats).numpy().astype(np.float64) if nats else np.zeros(0)
