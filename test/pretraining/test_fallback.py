"""The fallback byte model: the runtime's two models, in numbers."""

from pathlib import Path

import numpy as np
import pytest

from fallback import CountModel, patcher_fallback
from measure_patcher import with_counts

DEFAULT = Path(__file__).parent.parent.parent / "models" / "default"


def test_counts_alone_are_the_runtimes() -> None:
    """The same example as in test/model-runtime/lexicon/byte-model.test.ts."""
    found = CountModel()(b"abab")
    start = 1 + 1e-4
    a = ((1 / 256 * 2 / 6 + 2 / 6) / 2 + 1 / 2) / 2 + 1 / 2
    total = ((start * 2 / 6 + 4 / 6) / 2 + 1 / 2) / 2 + 1 / 2
    assert found[ord("a")] == pytest.approx(a / total)


def test_counts_over_a_model() -> None:
    known = np.full(257, 1 / 257)
    found = CountModel(3, 6, 3)(b"xabc1 yabc2 abc", known)
    even = 0.01 / 256 / (1 + 1e-4)
    assert found[ord("1")] == pytest.approx(0.99 * (1 / 257 * 6 + 1) / 8 + even)
    assert found[ord("3")] == pytest.approx(0.99 * (1 / 257 * 6) / 8 + even)
    assert found[256] == pytest.approx(0.99 * (1 / 257 * 6) / 8 + 256e-4 * even)
    assert found.sum() == pytest.approx(1)


def test_the_measures_shortcut_is_the_same() -> None:
    text = b"const a = call(a);\nconst b = call(b);\n"
    model = CountModel(3, 6, 3)
    known = np.full(257, 1 / 257)
    whole = [model(text[:n], known)[text[n]] for n in range(len(text))]
    assert with_counts(np.full(len(text), 1 / 257), text, 3, 6, 3) == pytest.approx(whole)


def test_the_default_models_fallback_is_a_distribution_and_causal() -> None:
    text = b"def f(x):\n    return x + 1\n\ndef g(x):\n    return x + 2\n"
    whole, part = patcher_fallback(DEFAULT, text), patcher_fallback(DEFAULT, text[:30])
    for length in range(31):
        row = whole(text[:length])
        assert row.sum() == pytest.approx(1) and row.min() > 0
        assert row == pytest.approx(part(text[:length]), abs=1e-5)
