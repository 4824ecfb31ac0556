"""The bytes of rows of pieces, and which of the latent's states a byte place sees: no loop over pieces or bytes.

A row of pieces becomes ids of bytes; the piece that begins each text becomes EOS and BOS.
Shapes: B rows, T pieces a row, L ids a row, V pieces, W ids of the longest piece.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from model import BOS, EOS
from pieces import Lexicon
from text_stream import BYTE_OFFSET


@dataclass
class PieceBytes:
    """Ids of each piece [V, W], and how many they are [V]."""

    ids: Tensor
    lengths: Tensor

    @staticmethod
    def of(lexicon: Lexicon, device: torch.device | str = "cpu") -> "PieceBytes":
        strings = [[byte + BYTE_OFFSET for byte in piece] for piece in lexicon.pieces]
        strings[lexicon.bos] = [EOS, BOS]
        ids = torch.zeros(len(strings), max(map(len, strings)), dtype=torch.long)
        for piece, string in enumerate(strings):
            ids[piece, : len(string)] = torch.tensor(string, dtype=torch.long)
        return PieceBytes(ids.to(device), torch.tensor([len(string) for string in strings], device=device))


def spelt(rows: Tensor, table: PieceBytes, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """rows [B, T] -> ids [B, L], the piece of each [B, L] (behind the row's end: EOS, of the last piece), and ids up to each
    piece's end [B, T]."""
    ends = table.lengths[rows].cumsum(1)
    at = torch.arange(length, device=rows.device).expand(len(rows), length).contiguous()
    piece = torch.searchsorted(ends, at, right=True).clamp(max=rows.shape[1] - 1)
    whose = rows.gather(1, piece)
    offset = (at - ends.gather(1, piece) + table.lengths[whose]).clamp(max=table.ids.shape[1] - 1)
    return torch.where(at < ends[:, -1:], table.ids[whose, offset], EOS), piece, ends


@dataclass
class BytePlaces:
    """Ids [B, L] of rows of pieces; of each next id [B, L - 1]: `target`, `own` the piece it is part of, `counts` whether
    it is one to be foreseen (not the BOS of a text, not behind the row's end); `ends` [B, T]: ids up to each piece's end;
    `begun` [B, T]: the piece that began the text of a piece."""

    ids: Tensor
    target: Tensor
    own: Tensor
    counts: Tensor
    ends: Tensor
    begun: Tensor

    @staticmethod
    def of(rows: Tensor, table: PieceBytes, length: int) -> "BytePlaces":
        ids, piece, ends = spelt(rows, table, length)
        exists = torch.arange(length, device=rows.device) < ends[:, -1:]
        number = torch.arange(rows.shape[1], device=rows.device).expand_as(rows)
        is_first = table.ids[rows, 0] == EOS
        begun = torch.where(is_first, number, 0).cummax(1).values
        return BytePlaces(ids, ids[:, 1:], piece[:, 1:], exists[:, 1:] & (ids[:, 1:] != BOS), ends, begun)

    def latent_of(self, lag: Tensor | int) -> tuple[Tensor, Tensor]:
        """Of each next id [B, L - 1]: the piece after which the latent was asked, `lag` pieces before the newest that has
        ended (not beyond the beginning of its text), and how many ids have come since."""
        newest = (self.own - 1).clamp(min=0)
        latent = torch.maximum(newest - lag, self.begun.gather(1, newest))
        at = torch.arange(self.own.shape[1], device=self.own.device)
        since = at + 1 - self.ends.gather(1, latent)
        return latent, since.clamp(min=0)
