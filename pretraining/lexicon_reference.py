"""The exact byte readout of a token model: one normalised distribution over 256 bytes + EOS after every byte.

docs/lexicon.md is the definition, this file its reference: `LexiconReader` goes byte by byte (append, truncate),
`score` reads a whole text with the latent positions of many words in parallel; both give the same numbers.

Shapes: V pieces, S sorted pieces (those that may be read out), D width; probabilities are float64.
"""

from bisect import bisect_left
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latent_reference import LatentCache, LatentTransformer
from pieces import Lexicon, Words, scan

EOS = 256
SYMBOLS = 257

# The fallback byte model: bytes so far -> probabilities of the next [257], EOS last.
Fallback = Callable[[bytes], np.ndarray]


@dataclass(frozen=True)
class Rule:
    """`lexicon_config`. The latent steps when one ended piece holds more than `refresh_threshold` of the mass; the
    byte model alone has `fallback_share` of each word; a word is opened anew every `word_limit` bytes."""

    refresh_threshold: float = 0.3
    fallback_share: float = 1e-4
    word_limit: int = 32


class SortedPieces:
    """The pieces sorted as byte strings: those with a common prefix are neighbours, the prefix itself first."""

    def __init__(self, lexicon: Lexicon):
        self.order = np.array(sorted((i for i, p in enumerate(lexicon.pieces) if p), key=lambda i: lexicon.pieces[i]))
        self.strings = [lexicon.pieces[i] for i in self.order]
        self.place = {int(piece): at for at, piece in enumerate(self.order)}
        self.readable = np.append(self.order, lexicon.eos)
        self.byte_at = np.zeros((max(map(len, self.strings)), len(self.strings)), dtype=np.uint8)
        for column, string in enumerate(self.strings):
            self.byte_at[: len(string), column] = list(string)

    def probabilities(self, logits: Tensor) -> np.ndarray:
        """Logits [V] -> softmax over the readable pieces and EOS, [S + 1] in sorted order, EOS last."""
        chosen = logits.numpy()[self.readable].astype(np.float64)
        mass = np.exp(chosen - chosen.max())
        return mass / mass.sum()

    def equal(self, string: bytes) -> int | None:
        """Where the piece with these bytes stands in sorted order; None if there is none."""
        at = bisect_left(self.strings, string)
        return at if at < len(self.strings) and self.strings[at] == string else None

    def next_bytes(self, mass: np.ndarray, prefix: bytes) -> np.ndarray:
        """Mass of the pieces that start with `prefix` and go on, by their next byte, [256]."""
        low, high = bisect_left(self.strings, prefix), len(self.strings)
        if after := _successor(prefix):
            high = bisect_left(self.strings, after, low)
        if low < high and self.strings[low] == prefix:
            low += 1
        if low == high:
            return np.zeros(256)
        return np.bincount(self.byte_at[len(prefix), low:high], mass[low:high], 256)


def _successor(prefix: bytes) -> bytes:
    """The first byte string after all that start with `prefix`; empty if there is none."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else b""


@dataclass
class Reading:
    """A cut of the open word into pieces, and what the latent says comes next: `mass` [S + 1].

    `pieces` since the word's start, `start` the offset of the next piece's first byte in the word, `weight` the
    probability of the pieces.
    """

    pieces: tuple[int, ...]
    start: int
    weight: float
    mass: np.ndarray


@dataclass
class Ended:
    """A piece that ended at `end` and after which the latent has not been asked: the byte model writes on."""

    pieces: tuple[int, ...]
    end: int
    weight: float


class OpenWord:
    """All that is known of the next byte: readings, ended pieces, and the byte model's own share of the word.

    The joint probability of the word's bytes is a sum over readings (a piece that is still being written), over ended
    pieces and the own share (the bytes since then by the byte model).
    """

    def __init__(self, table: SortedPieces, rule: Rule, readings: list[Reading], written: bytes):
        self.table, self.rule, self.readings, self.written = table, rule, readings, written
        self.opened = len(written)
        self.by_byte_model: list[float] = []  # its probability of each byte written since the word was opened
        self.ended: list[Ended] = []
        self._sum()
        self.own_share = rule.fallback_share * (self.next_byte.sum() + self.eos)

    def write(self, byte: int, probability: float) -> None:
        """Append a byte, to which the byte model gives `probability`."""
        self.written += bytes([byte])
        self.by_byte_model.append(probability)
        for reading in self.readings:
            self._end(reading, len(self.written))
        self._sum()

    def stale(self) -> Ended | None:
        """The heaviest ended piece if it holds more than the threshold of all mass: the latent should step on it."""
        if not self.ended:
            return None
        heaviest = max(self.ended, key=self._mass)
        return heaviest if self._mass(heaviest) > self.rule.refresh_threshold * self._total() else None

    def refresh(self, ended: Ended, mass: np.ndarray) -> None:
        """Read on after an ended piece: `mass` [S + 1] is what the latent says after its pieces."""
        self.ended.remove(ended)
        reading = Reading(ended.pieces, ended.end, ended.weight, mass)
        self.readings.append(reading)
        for end in range(reading.start + 1, len(self.written) + 1):
            self._end(reading, end)
        self._sum()

    def distribution(self, byte_model: np.ndarray) -> np.ndarray:
        """Probabilities of the next byte and EOS, [257], that sum to 1; `byte_model` [257] is the fallback's."""
        joint = self._fallen() * byte_model
        joint[:256] += self.next_byte
        joint[EOS] += self.eos
        return joint / self._total()

    def fallback_part(self) -> float:
        """Share of the distribution that is the byte model's."""
        return self._fallen() / self._total()

    def _end(self, reading: Reading, end: int) -> None:
        at = self.table.equal(self.written[reading.start : end])
        if at is not None:
            pieces = (*reading.pieces, int(self.table.order[at]))
            self.ended.append(Ended(pieces, end, reading.weight * float(reading.mass[at])))

    def _sum(self) -> None:
        """Mass of each next byte by pieces that are still being written, and of EOS after a piece that ends here."""
        self.next_byte, self.eos = np.zeros(256), 0.0
        for reading in self.readings:
            rest = self.written[reading.start :]
            self.next_byte += reading.weight * self.table.next_bytes(reading.mass, rest)
            if not rest:
                self.eos += reading.weight * float(reading.mass[-1])

    def _mass(self, ended: Ended) -> float:
        return ended.weight * float(np.prod(self.by_byte_model[ended.end - self.opened :]))

    def _fallen(self) -> float:
        return self.own_share * float(np.prod(self.by_byte_model)) + sum(map(self._mass, self.ended))

    def _total(self) -> float:
        return float(self.next_byte.sum()) + self.eos + self._fallen()


def opening(words: Words, word_limit: int) -> tuple[int, int]:
    """Where the open word starts, and from where the rule for latent steps is applied: there, or the last multiple of
    `word_limit` bytes after it. Both are functions of the text so far."""
    start = words.open
    return start, start + (len(words.text) - start) // word_limit * word_limit


def open_word(
    table: SortedPieces, rule: Rule, cut: list[tuple[int, int]], masses: list[np.ndarray], written: bytes
) -> OpenWord:
    """The word opened after `written`, whose own cut has the positions before it and its pieces as readings:
    `masses[i]` [S + 1] follows its first i pieces."""
    readings, weight = [Reading((), 0, 1.0, masses[0])], 1.0
    for i, (piece, start) in enumerate(cut):
        end = cut[i + 1][1] if i + 1 < len(cut) else len(written)
        weight *= float(masses[i][table.place[piece]])
        readings.append(Reading((*readings[-1].pieces, piece), end, weight, masses[i + 1]))
    return OpenWord(table, rule, readings, written)


class LexiconReader:
    """A text that grows byte by byte, and the distribution of its next byte.

    `steps` counts runs of the latent transformer, `positions` the positions they computed.
    """

    def __init__(self, latent: LatentTransformer, lexicon: Lexicon, rule: Rule, fallback: Fallback):
        self.latent, self.lexicon, self.rule, self.fallback = latent, lexicon, rule, fallback
        self.table = SortedPieces(lexicon)
        self.words = Words()
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
        """What the latent says after the settled words and `pieces`; positions that are still cached are kept."""
        path = [*self.before, *pieces]
        same = _shared(path, self.path)
        if same < len(path):
            self.cache.length = same
            self.states = torch.cat([self.states[:same], self.latent.append(path[same:], self.cache)])
            self.path = path
            self.steps += 1
            self.positions += len(path) - same
        return self.table.probabilities(self.latent.logits(self.states[len(path) - 1]))


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
GROUP = 32


def score(
    latent: LatentTransformer, lexicon: Lexicon, rule: Rule, fallback: Fallback, text: bytes, full: bool = False
) -> Score:
    """Every byte by the distribution before it.

    The pieces of the whole text are the trunk: one causal pass. A word's readings depend on the trunk before the word
    and on nothing else, so that many words are read side by side and what they ask of the latent runs in one batch.
    """
    trunk = Trunk(latent, lexicon, text)
    byte_model = [fallback(text[:length]) for length in range(len(text) + 1)]
    stretches = _stretches(rule.word_limit, text)
    result = Score(np.zeros(len(text) + 1), np.zeros(len(text) + 1), 0, 0, None)
    if full:
        result.distributions = np.zeros((len(text) + 1, SYMBOLS))
    path: tuple[int, Sequence[int]] = (1, ())
    for first in range(0, len(stretches), GROUP):
        group = [_Stretch(trunk, rule, text, byte_model, *bounds, result) for bounds in stretches[first : first + GROUP]]
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
        self, trunk: "Trunk", rule: Rule, text: bytes, byte_model: list[np.ndarray],
        start: int, opened: int, first: int, last: int, result: Score,
    ):
        self.before = trunk.before[start]
        self.asked: list[tuple[int, ...]] = []
        self.done = False
        self.steps = self._read(trunk, rule, text, byte_model, start, opened, first, last, result)
        self.asked.append(next(self.steps))

    def answer(self, mass: np.ndarray) -> None:
        try:
            self.asked.append(self.steps.send(mass))
        except StopIteration:
            self.done = True

    @staticmethod
    def _read(
        trunk: "Trunk", rule: Rule, text: bytes, byte_model: list[np.ndarray],
        start: int, opened: int, first: int, last: int, result: Score,
    ) -> Generator[tuple[int, ...], np.ndarray, None]:
        cut = trunk.lexicon.cut(text[start:opened])
        masses = []
        for count in range(len(cut), -1, -1):
            masses.append((yield tuple(piece for piece, _ in cut[:count])))
        word = open_word(trunk.table, rule, cut, masses[::-1], text[start:opened])
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
    """The canonical cut of a whole text and the latent's states after each of its pieces; branches are run beside it."""

    def __init__(self, latent: LatentTransformer, lexicon: Lexicon, text: bytes):
        self.latent, self.lexicon, self.table = latent, lexicon, SortedPieces(lexicon)
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
        """What the latent says after each path: (positions of the trunk before it, pieces) -> [S + 1]."""
        branches = [path for path in paths if self._on_trunk(*path) < len(path[1])]
        run = dict(zip(branches, self._run(branches))) if branches else {}
        states = [run[path] if path in run else self.states[path[0] + len(path[1]) - 1] for path in paths]
        return [self.table.probabilities(logits) for logits in self.latent.logits(torch.stack(states))]

    def beyond(self, kept: tuple[int, Sequence[int]], path: tuple[int, Sequence[int]]) -> int:
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
