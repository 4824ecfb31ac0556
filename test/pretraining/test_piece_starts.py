"""Where a patch may start: after the space that a piece begins with."""

from pathlib import Path

import numpy
import pytest

from piece_starts import fast_starts, load_tokenizer, shifted_starts
from pieces import load_lexicon

DEFAULT = Path(__file__).parent.parent.parent / "models" / "default"
TEXTS = [
    "const x = 42;\n    return 'é' + value;\n",
    "",
    "a  b\t\tc \n\n  if x:\n\treturn None  # größer als 10\n",
    "don't {{ }} 日本語 <|endoftext|>\r\n",
]


@pytest.mark.parametrize("text", TEXTS)
def test_both_ways_agree(text: str) -> None:
    lexicon, tokenizer = load_lexicon(DEFAULT), load_tokenizer(DEFAULT)
    data = text.encode()
    exact, fast = shifted_starts(lexicon, data), fast_starts(tokenizer, data)
    assert exact.shape == (len(data) + 1,)
    assert numpy.array_equal(exact[: len(data)], fast[: len(data)])


def test_a_leading_space_belongs_to_the_patch_before() -> None:
    starts = shifted_starts(load_lexicon(DEFAULT), b"return value")
    assert [i for i, start in enumerate(starts) if start] == [0, 7]
