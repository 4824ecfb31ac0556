"""Documents as ids, and rows that depend on the step alone."""

from pathlib import Path

import pytest

from model import BOS, EOS
from text_stream import first_of_rows, read_ids, rows_of


def test_read_ids(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"ab\xffc\xff")
    (tmp_path / "b.bin").write_bytes(b"\xc3\xa9\xff")
    found = read_ids([tmp_path / "a.bin", tmp_path / "b.bin"]).tolist()
    assert found == [BOS, 101, 102, EOS, BOS, 103, EOS, BOS, 0xC3 + 4, 0xA9 + 4, EOS]


def test_empty_data_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"")
    with pytest.raises(SystemExit, match=r"a\.bin: no text to train on"):
        read_ids([tmp_path / "a.bin"])


def test_missing_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"a\.bin is missing; run prepare\.py first"):
        read_ids([tmp_path / "a.bin"])


def test_rows_depend_on_seed_and_step(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(range(97, 123)) * 9 + b"\xff")
    ids = read_ids([tmp_path / "a.bin"])
    rows = rows_of(ids, first_of_rows(len(ids), 8, 3, 1, 5), 8)
    assert rows.shape == (3, 9)
    assert rows.tolist() == rows_of(ids, first_of_rows(len(ids), 8, 3, 1, 5), 8).tolist()
    assert rows.tolist() != rows_of(ids, first_of_rows(len(ids), 8, 3, 1, 6), 8).tolist()
