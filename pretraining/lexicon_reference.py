"""The exact byte readout of a token model: one normalised distribution over 256 bytes + EOS after every byte.

docs/lexicon.md is the definition, this file its reference: `LexiconReader` goes byte by byte (append, truncate),
`score` reads a whole text with all latent positions in parallel; both give the same numbers.

Shapes: V pieces, S sorted pieces (those that may be read out), D width, J + 1 readings; probabilities are float64.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable
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
Path = tuple[tuple[int, int], ...]  # (piece, offset of its first byte in the text)


@dataclass(frozen=True)
class Rule:
    """`lexicon_config` of a checkpoint. A latent step is taken when more than `refresh_threshold` of the mass is stale."""

    readings: int = 4
    refresh_threshold: float = 0.3
    fallback_share: float = 1e-4
    word_limit: int = 32


class SortedPieces:
    """The pieces sorted as byte strings: those with a common prefix are neighbours, the prefix itself first."""

    def __init__(self, lexicon: Lexicon):
        self.order = np.array(sorted((i for i, p in enumerate(lexicon.pieces) if p), key=lambda i: lexicon.pieces[i]))
        self.strings = [lexicon.pieces[i] for i in self.order]
        self.eos = lexicon.eos
        self.byte_at = np.zeros((max(map(len, self.strings)), len(self.strings)), dtype=np.uint8)
        for column, string in enumerate(self.strings):
            self.byte_at[: len(string), column] = list(string)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Logits [V] -> softmax over the readable pieces and EOS, [S + 1] in sorted order, EOS last."""
        chosen = logits[np.append(self.order, self.eos)].astype(np.float64)
        mass = np.exp(chosen - chosen.max())
        return mass / mass.sum()

    def place(self, string: bytes) -> int:
        """Where a piece stands in sorted order."""
        return bisect_left(self.strings, string)

    def sums(self, mass: np.ndarray, prefix: bytes) -> tuple[np.ndarray, float]:
        """Mass of the pieces that continue `prefix`, by their next byte [256], and of the piece that equals it."""
        low, high = bisect_left(self.strings, prefix), len(self.strings)
        if successor := _successor(prefix):
            high = bisect_left(self.strings, successor, low)
        equal = 0.0
        if low < high and self.strings[low] == prefix:
            equal = float(mass[low])
            low += 1
        if low == high:
            return np.zeros(256), equal
        return np.bincount(self.byte_at[len(prefix), low:high], mass[low:high], 256), equal


def _successor(prefix: bytes) -> bytes:
    """The first byte string after all that start with `prefix`; empty if there is none."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else b""


class OpenPatch:
    """What is known of the next byte since the latent's last step: readings, bytes written since, stale mass.

    Reading j takes the latent before the last j pieces and asks for pieces that start with those pieces' bytes and
    the bytes written since. `masses[j]` [S + 1] are its probabilities, `pasts[j]` those bytes, `chosen[j]` the
    probability that reading j + 1 gives to the piece between the two.
    """

    def __init__(self, table: SortedPieces, share: float, masses: list[np.ndarray], pasts: list[bytes], chosen: list[float]):
        self.table, self.masses, self.pasts = table, masses, pasts
        self.written = b""
        deepest = len(masses) - 1
        self.weights = [1.0] * (deepest + 1)
        for j in range(deepest - 1, -1, -1):
            self.weights[j] = self.weights[j + 1] * chosen[j]
        # Whole pieces that end here by another cut of the same bytes are continued from the newest latent.
        for j in range(2, deepest + 1):
            self.weights[0] += self.weights[j] * table.sums(masses[j], pasts[j])[1]
        self._sum()
        self.stale_mass = share * (self.next_byte.sum() + self.eos)

    def _sum(self) -> None:
        """Mass of each next byte, of pieces that end here, and of EOS."""
        self.next_byte, self.ended, self.eos = np.zeros(256), 0.0, 0.0
        for mass, past, weight in zip(self.masses, self.pasts, self.weights):
            next_byte, equal = self.table.sums(mass, past + self.written)
            self.next_byte += weight * next_byte
            self.ended += weight * equal
        if not self.written:
            self.ended, self.eos = 0.0, self.weights[0] * float(self.masses[0][-1])

    def distribution(self, fallback: np.ndarray) -> np.ndarray:
        """Probabilities of the next byte and EOS, [257]; they sum to 1."""
        byte_model = self.ended + self.stale_mass
        joint = byte_model * fallback
        joint[:256] += self.next_byte
        joint[EOS] += self.eos
        return joint / (self.next_byte.sum() + self.eos + byte_model)

    def write(self, byte: int, fallback: np.ndarray) -> None:
        """Append a byte of the text; `fallback` is the byte model's distribution before it."""
        self.stale_mass = (self.ended + self.stale_mass) * float(fallback[byte])
        self.written += bytes([byte])
        self._sum()

    @property
    def stale(self) -> float:
        """Share of the mass of which the lexicon can say nothing more: pieces ended, or left to the byte model."""
        byte_model = self.ended + self.stale_mass
        total = self.next_byte.sum() + self.eos + byte_model
        return byte_model / total if total > 0 else 1.0


def anchor(last_word: int, length: int, word_limit: int) -> tuple[int, int]:
    """The last word's start, and where the rule for latent steps starts anew: there, then every `word_limit` bytes."""
    return last_word, last_word + (length - last_word) // word_limit * word_limit


class LexiconReader:
    """A text that grows byte by byte, and the distribution of its next byte.

    `steps` counts runs of the latent transformer, `positions` the positions they computed.
    """

    def __init__(self, latent: LatentTransformer, lexicon: Lexicon, rule: Rule, fallback: Fallback):
        self.latent, self.lexicon, self.rule, self.fallback = latent, lexicon, rule, fallback
        self.table = SortedPieces(lexicon)
        self.cache = LatentCache(latent.config)
        self.words = Words()
        self.steps = self.positions = 0
        self.path: Path = ()
        self.masses: dict[int, np.ndarray] = {}
        self.states = self.latent.append([lexicon.bos], self.cache)  # [positions, D]: BOS, then one a piece
        self._restart()

    @property
    def text(self) -> bytes:
        return bytes(self.words.text)

    def distribution(self) -> np.ndarray:
        return self.patch.distribution(self.fallback(self.text))

    def append(self, byte: int) -> None:
        before = self.text
        self.words.append(byte)
        if self._anchor() == self.anchor:
            self._write(len(before))
        else:
            self._restart()

    def truncate(self, length: int) -> None:
        self.words.truncate(length)
        self._restart()

    def _restart(self) -> None:
        """The state is a function of the text alone: close it at the anchor, then apply the rule byte by byte."""
        self.anchor = self._anchor()
        self._close(self.anchor[1])
        for at in range(self.anchor[1], len(self.words.text)):
            self._write(at)

    def _anchor(self) -> tuple[int, int]:
        return anchor(self.words.last, len(self.words.text), self.rule.word_limit)

    def _write(self, at: int) -> None:
        text = self.text
        self.patch.write(text[at], self.fallback(text[:at]))
        if self.patch.stale > self.rule.refresh_threshold:
            self._close(at + 1)

    def _close(self, closed: int) -> None:
        """The latent's positions become the cut of the first `closed` bytes; those that stay are not run again."""
        text, last = self.text, self.words.last
        path = []
        for start, end in zip(self.words.starts, self.words.starts[1:]):
            path += [(piece, start + at) for piece, at in self.lexicon.merge(text[start:end])]
        path += [(piece, last + at) for piece, at in self.lexicon.cut_open(text[last:closed])]
        same = 0
        while same < min(len(path), len(self.path)) and path[same] == self.path[same]:
            same += 1
        if new := path[same:]:
            self.cache.length = same + 1
            self.states = torch.cat([self.states[: same + 1], self.latent.append([piece for piece, _ in new], self.cache)])
            self.steps += 1
            self.positions += len(new)
        self.masses = {position: mass for position, mass in self.masses.items() if position <= same}
        self.path = tuple(path)
        newest = [len(path) - j for j in range(min(self.rule.readings, len(path) + 1))]
        for position in newest:
            if position not in self.masses:
                logits = self.latent.logits(self.states[position : position + 1])[0]
                self.masses[position] = self.table.probabilities(logits.numpy())
        self.patch = open_patch(self.table, self.rule, self.lexicon, [self.masses[p] for p in newest], path, text[:closed])


def open_patch(
    table: SortedPieces, rule: Rule, lexicon: Lexicon, masses: list[np.ndarray], path: list[tuple[int, int]], text: bytes
) -> OpenPatch:
    """The patch opened after `text`, whose cut ends with `path`; `masses[j]` are read before its last j pieces."""
    pasts, chosen = [b""], []
    for j in range(1, len(masses)):
        piece, start = path[-j]
        pasts.append(text[start:])
        chosen.append(float(masses[j][table.place(lexicon.pieces[piece])]))
    return OpenPatch(table, rule.fallback_share, masses, pasts, chosen)


@dataclass
class Score:
    """`log_probability` [n + 1], nats: of each byte, then of EOS. Latent runs, their positions, and per byte the
    share of the distribution that the byte model had to give (`stale`). `distributions` [n + 1, 257] if asked for."""

    log_probability: np.ndarray
    stale: np.ndarray
    closed: np.ndarray
    steps: int
    positions: int
    distributions: np.ndarray | None


class CutTree:
    """All cuts that a text's prefixes may ask for, as a tree of pieces, and the latent's state after each of them.

    The cut of the whole text is the trunk (run first, causally); what hangs off it runs in batches that see the
    trunk up to where they branch off, and their own ancestors.
    """

    def __init__(self, latent: LatentTransformer, lexicon: Lexicon, word_limit: int, text: bytes):
        self.latent, self.lexicon, self.word_limit, self.text = latent, lexicon, word_limit, text
        self.parent, self.piece, self.start, self.depth = [0], [lexicon.bos], [0], [0]
        self.children: dict[tuple[int, int, int], int] = {}
        self.prefixes: list[tuple[tuple[int, int], int]] = []  # by length: anchor, node before the last word
        self.opened: dict[tuple[int, int, int], int] = {}  # (node before the word, its start, closed) -> node
        self._grow()
        self.states = self._run()

    def node(self, length: int, closed: int) -> int:
        """The node of the cut that a text of `length` bytes has when `closed` of them are closed."""
        (last, _), before = self.prefixes[length]
        return self.opened[before, last, closed]

    def newest(self, node: int, count: int) -> list[int]:
        """The node and its ancestors, newest first, at most `count`."""
        nodes = [node]
        while len(nodes) < count and nodes[-1] != 0:
            nodes.append(self.parent[nodes[-1]])
        return nodes

    def _grow(self) -> None:
        words = Words()
        before = [0]  # node before each word
        known: list[int] = []
        for length in range(len(self.text) + 1):
            if length:
                words.append(self.text[length - 1])
            same = max(0, min(len(known), len(words.starts)) - 6)
            while same < min(len(known), len(words.starts)) and known[same] == words.starts[same]:
                same += 1
            del before[max(same, 1) :]
            for i in range(len(before), len(words.starts)):
                start, end = words.starts[i - 1], words.starts[i]
                before.append(self._add(before[-1], start, self.lexicon.merge(self.text[start:end])))
            known = words.starts.copy()
            self.prefixes.append((anchor(words.last, length, self.word_limit), before[-1]))
            for closed in range(self.prefixes[-1][0][1], length + 1):
                key = (before[-1], words.last, closed)
                if key not in self.opened:
                    cut = self.lexicon.cut_open(self.text[words.last : closed])
                    self.opened[key] = self._add(before[-1], words.last, cut)

    def _add(self, node: int, start: int, cut: Path) -> int:
        for piece, at in cut:
            key = (node, piece, start + at)
            if key not in self.children:
                self.children[key] = len(self.parent)
                self.parent.append(node)
                self.piece.append(piece)
                self.start.append(start + at)
                self.depth.append(self.depth[node] + 1)
            node = self.children[key]
        return node

    def _run(self) -> Tensor:
        """States [nodes, D]."""
        states = torch.zeros(len(self.parent), self.latent.config.hidden_size)
        trunk = self.newest(self.node(len(self.text), len(self.text)), len(self.parent))[::-1]
        cache = LatentCache(self.latent.config, len(trunk))
        for i in range(0, len(trunk), 256):
            chunk = trunk[i : i + 256]
            states[chunk] = self.latent.append([self.piece[node] for node in chunk], cache)
        on_trunk = set(trunk)
        batch: list[int] = []
        for node in range(len(self.parent)):
            if node in on_trunk:
                continue
            branch = [node]
            while (up := self.parent[branch[-1]]) not in on_trunk and up not in batch:
                branch.append(up)
            batch += branch[::-1]
            if len(batch) >= 192:
                states[batch] = self._run_batch(batch, on_trunk, cache)
                batch = []
        if batch:
            states[batch] = self._run_batch(batch, on_trunk, cache)
        return states

    def _run_batch(self, batch: list[int], on_trunk: set[int], cache: LatentCache) -> Tensor:
        slot = {node: i for i, node in enumerate(batch)}
        roots = []
        own = torch.eye(len(batch), dtype=torch.bool)
        for i, node in enumerate(batch):
            parent = self.parent[node]
            if parent in on_trunk:
                roots.append(self.depth[parent])
            else:
                roots.append(roots[slot[parent]])
                own[i] |= own[slot[parent]]
        trunk = torch.arange(max(roots) + 1)[None] <= torch.tensor(roots)[:, None]
        position = torch.tensor([self.depth[node] for node in batch])
        return self.latent.run([self.piece[node] for node in batch], position, torch.cat([trunk, own], 1), cache)[0]


def score(tree: CutTree, table: SortedPieces, rule: Rule, fallback: Fallback, full: bool = False) -> Score:
    """Every byte of the tree's text by the distribution before it; `rule.word_limit` must be the tree's."""
    text, lexicon = tree.text, tree.lexicon
    readouts = _Readouts(tree, table)
    log_probability, stale, closings = [], [], []
    everything: list[np.ndarray] = []
    steps = positions = 0
    byte_model: list[np.ndarray] = []
    cached: set[int] = {0}
    current: tuple[int, int] | None = None
    patch: OpenPatch | None = None

    def close(length: int, closed: int) -> OpenPatch:
        nonlocal cached, steps, positions
        node = tree.node(length, closed)
        chain = tree.newest(node, tree.depth[node] + 1)
        if new := sum(n not in cached for n in chain):
            steps += 1
            positions += new
        cached = set(chain)
        newest = chain[: rule.readings]
        path = [(tree.piece[n], tree.start[n]) for n in newest[::-1]]
        return open_patch(table, rule, lexicon, [readouts.mass(n) for n in newest], path, text[:closed])

    for length in range(len(text) + 1):
        byte_model.append(fallback(text[:length]))
        start = length - 1
        if tree.prefixes[length][0] != current:
            current = tree.prefixes[length][0]
            start = closed = current[1]
            patch = close(length, closed)
        for at in range(start, length):
            patch.write(text[at], byte_model[at])
            if patch.stale > rule.refresh_threshold:
                patch, closed = close(length, at + 1), at + 1
        distribution = patch.distribution(byte_model[length])
        log_probability.append(np.log(distribution[text[length] if length < len(text) else EOS]))
        stale.append(patch.stale)
        closings.append(closed)
        if full:
            everything.append(distribution)
    return Score(
        np.array(log_probability), np.array(stale), np.array(closings), steps, positions, np.array(everything) if full else None
    )


class _Readouts:
    """Probabilities after a node, computed for its neighbours at once and kept for a while."""

    BLOCK, KEPT = 48, 256

    def __init__(self, tree: CutTree, table: SortedPieces):
        self.tree, self.table = tree, table
        self.kept: OrderedDict[int, np.ndarray] = OrderedDict()

    def mass(self, node: int) -> np.ndarray:
        if node not in self.kept:
            logits = self.tree.latent.logits(self.tree.states[node : node + self.BLOCK]).numpy()
            for i, row in enumerate(logits):
                self.kept[node + i] = self.table.probabilities(row)
            while len(self.kept) > self.KEPT:
                self.kept.popitem(last=False)
        self.kept.move_to_end(node)
        return self.kept[node]


def score_by_tokens(latent: LatentTransformer, lexicon: Lexicon, text: bytes) -> np.ndarray:
    """The base model's own measure: nats of each piece of the whole text's canonical cut, given those before it."""
    pieces = [piece for start, end in scan(text)[0] for piece, _ in lexicon.merge(text[start:end])]
    cache = LatentCache(latent.config, len(pieces) + 1)
    sequence, nats = [lexicon.bos, *pieces], []
    for i in range(0, len(pieces), 256):
        chunk = sequence[i : i + 256][: len(pieces) - i]
        logits = latent.logits(latent.append(chunk, cache)).log_softmax(-1)
        nats.append(-logits[torch.arange(len(chunk)), torch.tensor(pieces[i : i + len(chunk)])])
    return torch.cat(nats).numpy().astype(np.float64) if nats else np.zeros(0)
