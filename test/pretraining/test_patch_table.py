"""Thresholds for patch lengths, and where patches start."""

import numpy
import pytest

from patch_table import patch_table, threshold_for


def test_one_byte_of_so_many_is_above_the_threshold() -> None:
    entropy = numpy.random.default_rng(1).random(4000)
    assert (entropy > threshold_for(entropy, 4.0)).mean() == pytest.approx(0.25, abs=0.001)


def test_shares_of_starts() -> None:
    """The surest starts are every fourth byte, half of them at a piece's start and all pieces' starts among them."""
    at = numpy.arange(800)
    entropy = numpy.where(at % 4 == 0, 2.0 + at / 1e5, 0.5 - at / 1e5)
    lines = patch_table(entropy, at % 8 == 0)
    assert [line for line in lines if line.startswith("| 4 |")] == ["| 4 | 0.875 | 0.500 | 1.000 |"]
    assert lines[-1].startswith("mean entropy where a piece starts 2.89 bits, elsewhere")
