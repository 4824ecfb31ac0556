"""Documents as ids."""

from pathlib import Path

import pytest

from model import BOS, EOS
from text_stream import read_ids


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
