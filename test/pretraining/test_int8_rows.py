"""A row's scale loses no more than the largest number's would."""

import numpy as np
from int8_rows import int8_rows


def test_int8_rows_choose_no_worse_scale_than_the_greatest_magnitude() -> None:
    values = np.random.default_rng(2).standard_t(4, size=(20, 64)).astype(np.float32)
    quants, scale = int8_rows(values)
    plain = np.abs(values).max(1, keepdims=True) / 127
    error = ((quants * scale[:, None] - values) ** 2).sum()
    assert error <= ((np.rint(values / plain) * plain - values) ** 2).sum()
    assert np.abs(quants.astype(int)).max() <= 127
