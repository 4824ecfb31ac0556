"""Where a patch may start: after the space that a piece begins with."""

from pathlib import Path

from piece_starts import shifted_starts
from pieces import load_lexicon

DEFAULT = Path(__file__).parent.parent.parent / "models" / "default"


def test_a_leading_space_belongs_to_the_patch_before() -> None:
    starts = shifted_starts(load_lexicon(DEFAULT), b"return value")
    assert [i for i, start in enumerate(starts) if start] == [0, 7]
