"""The open word by hand: the worked example of docs/lexicon.md, sums over the sorted pieces, where a word is opened."""

import numpy as np
import pytest
import torch
from pieces import Lexicon, Words
from readout import EOS, SYMBOLS, OpenWord, Rule, SortedPieces, open_word, opening

PIECES = [b"", b"c", b"o", b"n", b"s", b"t", b"=", b"co", b"con", b"st", b"const", b"\xff", b"\xff\xff"]


@pytest.fixture
def table() -> SortedPieces:
    return SortedPieces(Lexicon(PIECES, [], {0}, bos=0, eos=0))


def masses(table: SortedPieces, **of: float) -> np.ndarray:
    mass = np.zeros(len(table.order) + 1)
    for piece, value in of.items():
        mass[-1 if piece == "end" else table.equal(b"=" if piece == "eq" else piece.encode())] = value
    return mass


def test_worked_example(table: SortedPieces) -> None:
    fallback = np.zeros(SYMBOLS)
    fallback[[ord(c) for c in "tnos"]] = 0.2
    fallback[EOS] = 0.2
    rule = Rule(refresh_threshold=0.2, fallback_share=0.0)
    first = masses(table, const=0.6, con=0.3, co=0.05, c=0.04, eq=0.01)
    word = open_word(table, rule, [], [first], b"")
    assert word.distribution(fallback)[ord("c")] == pytest.approx(0.99)
    word.write(ord("c"), 0.2)
    assert word.stale() is None
    word.write(ord("o"), 0.2)
    assert word.stale() is None
    assert word.distribution(fallback)[ord("n")] == pytest.approx((0.9 + 0.058 * 0.2) / 0.958)
    word.write(ord("n"), 0.2)
    ended = word.stale()
    assert ended is not None and ended.pieces == (PIECES.index(b"con"),)
    word.refresh(ended, masses(table, st=0.1, eq=0.8, s=0.1))
    assert word.stale() is None
    assert word.distribution(fallback)[ord("s")] == pytest.approx(0.66232 / 0.9116)
    assert word.distribution(fallback)[ord("=")] == pytest.approx(0.24 / 0.9116)
    word.write(ord("s"), 0.2)
    assert [ended.pieces for ended in word.ended][-1] == (PIECES.index(b"con"), PIECES.index(b"s"))


def test_end_of_the_document_comes_only_after_a_whole_piece(table: SortedPieces) -> None:
    word = open_word(table, Rule(fallback_share=0.0), [], [masses(table, const=0.5, co=0.1, end=0.4)], b"")
    certain = np.zeros(SYMBOLS)
    certain[ord("t")] = 1
    assert word.distribution(certain)[EOS] == pytest.approx(0.4)
    word.write(ord("c"), 1.0)
    assert word.distribution(certain)[EOS] == 0


def test_impossible_bytes_are_left_to_the_byte_model(table: SortedPieces) -> None:
    fallback = np.full(SYMBOLS, 1 / SYMBOLS)
    word = open_word(table, Rule(), [], [masses(table, const=1.0)], b"")
    assert word.distribution(fallback)[ord("z")] == pytest.approx(1e-4 / SYMBOLS, rel=1e-3)
    word.write(ord("z"), 1 / SYMBOLS)
    assert word.distribution(fallback) == pytest.approx(fallback)
    assert word.fallback_part() == pytest.approx(1)


def test_sums_are_those_of_plain_loops(table: SortedPieces) -> None:
    mass = table.probabilities(torch.randn(len(PIECES), generator=torch.Generator().manual_seed(1)))
    assert mass.sum() == pytest.approx(1)
    for prefix in [b"", b"c", b"co", b"con", b"const", b"s", b"x", b"\xff", b"\xff\xff"]:
        expected = np.zeros(256)
        for at, string in enumerate(table.strings):
            if string.startswith(prefix) and string != prefix:
                expected[string[len(prefix)]] += mass[at]
        assert table.next_bytes(mass, prefix) == pytest.approx(expected), prefix
        assert (table.equal(prefix) is not None) == (prefix in PIECES[1:]), prefix


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("", 32, (0, 0)),
        ("{\n    ", 32, (1, 1)),
        ("{\n    r", 32, (5, 5)),
        ("a = 'r", 32, (5, 5)),
        ("x'r", 32, (1, 1)),
        ("x're", 32, (1, 1)),
        ("ab 42", 32, (4, 4)),
        ("f(========", 4, (1, 9)),
        ("f(======", 4, (1, 5)),
    ],
)
def test_where_a_word_is_opened(text: str, limit: int, expected: tuple[int, int]) -> None:
    assert opening(Words(text.encode()), limit) == expected


def test_a_long_word_is_opened_with_its_own_cut(table: SortedPieces) -> None:
    cut = [(PIECES.index(b"con"), 0), (PIECES.index(b"s"), 3)]
    given = [masses(table, con=0.5, const=0.5), masses(table, st=0.25, s=0.75), masses(table, t=1.0)]
    word = OpenWord(table, Rule(fallback_share=0.0), open_word(table, Rule(), cut, given, b"cons").readings, b"cons")
    assert [(reading.start, reading.weight) for reading in word.readings] == [(0, 1.0), (3, 0.5), (4, 0.375)]
    assert word.distribution(np.zeros(SYMBOLS))[ord("t")] == pytest.approx(1)
