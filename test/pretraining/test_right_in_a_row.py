"""Drafts are counted from every place where one could begin."""

import torch
from right_in_a_row import RightInARow


def test_right_in_a_row() -> None:
    found = RightInARow(2)
    found.add([torch.tensor([[True, True, False, True, True]]), torch.tensor([[False, True, True, True, False]])])
    # Drafts begin at pieces 0, 1, 2: first pieces right, right, wrong; second ones (pieces 1, 2, 3) right, right, right.
    assert found.means() == [0.667, 1.333]
    assert found.rates() == [0.667, 1.0]
