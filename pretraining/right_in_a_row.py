"""How far drafts are right: pieces in a row from all places where one could begin."""

import torch
from torch import Tensor


class RightInARow:
    """How many pieces of drafts of up to n pieces are right in a row, n = 1, 2, ..., over all places where one could begin."""

    def __init__(self, ages: int):
        self.in_a_row, self.alone, self.places = torch.zeros(ages), torch.zeros(ages), 0

    def add(self, right: list[Tensor]) -> None:
        """right[d] [B, T]: whether piece t is drafted rightly as the one after d others."""
        ages, length = len(right), right[0].shape[1] - len(right)
        run = torch.ones_like(right[0][:, :length])
        for age in range(ages):
            here = right[age][:, age : age + length]
            run = run & here
            self.in_a_row[age] += run.sum().item()
            self.alone[age] += here.sum().item()
        self.places += run.numel()

    def means(self) -> list[float]:
        return [round(each, 3) for each in (self.in_a_row / self.places).cumsum(0).tolist()]

    def rates(self) -> list[float]:
        """Share of right pieces by age, the pieces before it being the text's."""
        return [round(each, 3) for each in (self.alone / self.places).tolist()]
