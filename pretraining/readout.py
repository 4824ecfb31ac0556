"""The exact byte readout of a token model's next-piece probabilities: one distribution over 256 bytes + EOS.

docs/lexicon.md, sections 4 to 6, is the definition. Shapes: V pieces, S sorted pieces (those that may be read out);
probabilities are float64.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pieces import Lexicon, Words

EOS = 256
SYMBOLS = 257

# The fallback byte model: bytes so far -> probabilities of the next [257], EOS last.
Fallback = Callable[[bytes], np.ndarray]


@dataclass(frozen=True)
class Rule:
    """`lexicon_config`. The latent steps when one ended piece holds more than `refresh_threshold` of the mass; the
    byte model alone has `fallback_share` of each word; a word is opened anew every `word_limit` bytes."""

    refresh_threshold: float = 0.1
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
