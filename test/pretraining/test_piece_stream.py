"""Rows of pieces as bytes, where pieces start in them, and windows that stay inside a row."""

from pathlib import Path

import numpy
import pytest
import torch

from model import BOS, EOS
from piece_starts import shifted_starts
from piece_stream import PieceStream, read_rows, stream_of
from pieces import Lexicon, load_lexicon

DEFAULT = Path(__file__).parent.parent.parent / "models" / "default"
TEXTS = ["const x = 42;\n    return 'é' + value;\n", "a  b\t\tc \n\n  if x:\n\treturn None  # größer\n", "\x1csuffix\x1eprefix 日本 语"]


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return load_lexicon(DEFAULT)


def rows_of(lexicon: Lexicon, texts: list[str], width: int) -> numpy.ndarray:
    pieces = [piece for text in texts for piece in [0, *(piece for piece, _ in lexicon.cut(text.encode()))]]
    pieces += [0] * (-len(pieces) % width)
    return numpy.array(pieces, dtype=numpy.uint16).reshape(-1, width)


def test_pieces_become_the_bytes_of_their_strings(lexicon: Lexicon) -> None:
    rows = rows_of(lexicon, TEXTS, 16)
    stream = stream_of(rows, lexicon)
    wanted = []
    for row in rows:
        for piece in row:
            wanted += [EOS, BOS] if piece == 0 else [byte + 4 for byte in lexicon.pieces[piece]]
    assert stream.ids.tolist() == wanted
    sizes = [sum(2 if piece == 0 else len(lexicon.pieces[piece]) for piece in row) for row in rows]
    assert stream.first.tolist() == [0, *numpy.cumsum(sizes)]


def test_starts_are_those_of_the_text(lexicon: Lexicon) -> None:
    rows = rows_of(lexicon, TEXTS, 200)
    stream = stream_of(rows, lexicon)
    at = 0
    for text in TEXTS:
        data = text.encode()
        assert stream.ids[at : at + 2].tolist() == [EOS, BOS] and stream.starts[at : at + 2].tolist() == [True, False]
        wanted = shifted_starts(lexicon, data)[: len(data)]
        assert stream.starts[at + 2 : at + 2 + len(data)].tolist() == wanted.tolist()
        at += 2 + len(data)


def test_a_space_in_front_belongs_to_the_piece_before(lexicon: Lexicon) -> None:
    stream = stream_of(rows_of(lexicon, ["return value"], 3), lexicon)
    first, second = (piece for piece, _ in lexicon.cut(b"return value"))
    assert stream.pieces.tolist() == [0, 0] + 7 * [first] + 5 * [second]


def test_windows_stay_in_their_row_and_reach_its_edges() -> None:
    """Three rows of 30, 50 and 40 ids."""
    first = torch.tensor([0, 30, 80, 120])
    stream = PieceStream(torch.zeros(120, dtype=torch.int16), torch.zeros(120, dtype=torch.bool), torch.zeros(120), first)
    places = stream.windows(400, 9, 1, 5)
    assert places.shape == (400, 10) and (places.diff(dim=1) == 1).all()
    row = torch.bucketize(places, first, right=True)
    assert (row == row[:, :1]).all()
    assert set(places[:, 0].tolist()) >= {0, 30, 80} and set(places[:, -1].tolist()) >= {29, 79, 119}
    assert torch.equal(places, stream.windows(400, 9, 1, 5)) and not torch.equal(places, stream.windows(400, 9, 1, 6))


def test_what_is_no_file_of_rows_is_named(tmp_path: Path, lexicon: Lexicon) -> None:
    with pytest.raises(SystemExit, match="rows.npy cannot be read as rows of pieces"):
        read_rows(tmp_path / "rows.npy")
    numpy.save(tmp_path / "rows.npy", numpy.zeros(3, numpy.int64))
    with pytest.raises(SystemExit, match=r"holds int64 \[3\], not uint16"):
        read_rows(tmp_path / "rows.npy")
    with pytest.raises(SystemExit, match="piece 60000 in the rows is beyond the lexicon's 49152"):
        stream_of(numpy.full((1, 4), 60000, numpy.uint16), lexicon)
