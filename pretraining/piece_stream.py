"""Rows of pieces as one stream of bytes on the training's device, and windows drawn from it by step.

The rows (.npy, uint16 [N, P], see completion_rows.py) hold texts one after the other, each begun by the piece 0; what
ends at the end of a row goes on elsewhere, so no window crosses it. In the stream a piece is its bytes, piece 0 is EOS BOS.

Shapes: M ids of the stream, N rows, B windows of T ids.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from torch import Tensor

from model import BOS, EOS
from pieces import Lexicon
from text_stream import BYTE_OFFSET

TEXT_START = 0
ROWS_AT_ONCE = 2048


@dataclass
class PieceStream:
    """`ids` [M] int16. `starts` [M]: whether a piece of the lexicon starts there, its leading space counted to the piece
    before; an EOS is a start, a BOS is not. `pieces` [M]: the piece an id belongs to, counted likewise. `first` [N + 1]: where rows begin."""

    ids: Tensor
    starts: Tensor
    pieces: Tensor
    first: Tensor

    def windows(self, count: int, length: int, seed: int, step: int) -> Tensor:
        """Places in the stream, [count, length + 1], the same for the same seed and step; every byte is about as likely
        as any other, those at the edges of a row too."""
        device = self.ids.device
        generator = step_chance(device, seed, step)
        row = torch.randint(len(self.first) - 1, (count,), generator=generator, device=device)
        begin, size = self.first[row], self.first[row + 1] - self.first[row]
        drawn = (torch.rand(count, generator=generator, device=device) * size).long() - length // 2
        at = begin + torch.minimum(drawn, size - length - 1).clamp(min=0)
        return (at[:, None] + torch.arange(length + 1, device=device)).clamp(max=len(self.ids) - 1)


def drawn_rows(rows: Tensor, count: int, chance: torch.Generator) -> Tensor:
    """Rows [count, P] of pieces, of `rows` [N, P] on the same device as `chance`."""
    return rows[torch.randint(len(rows), (count,), generator=chance, device=rows.device)].long()


def step_chance(device: torch.device | str, seed: int, step: int) -> torch.Generator:
    """What a step of a training draws by: it depends on the step alone, so that a resumed training draws the same."""
    return torch.Generator(device).manual_seed(seed * 1_000_003 + step)


def read_rows(path: Path, count: int | None = None) -> numpy.ndarray:
    """The first `count` rows of a file."""
    try:
        rows = numpy.load(path, mmap_mode="r")[:count]
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {path} cannot be read as rows of pieces ({error}); make it with completion_rows.py") from None
    if rows.ndim != 2 or rows.dtype != numpy.uint16 or not rows.size:
        raise SystemExit(f"error: {path} holds {rows.dtype} {list(rows.shape)}, not uint16 [rows, pieces]; make it with completion_rows.py")
    return rows


def load_rows(path: Path, count: int | None = None) -> Tensor:
    """The same as int32."""
    return torch.from_numpy(read_rows(path, count).astype(numpy.int32))


def stream_of(rows: numpy.ndarray, lexicon: Lexicon, device: str = "cpu") -> PieceStream:
    """The stream of all rows, made some rows at a time."""
    if int(rows.max()) >= len(lexicon.pieces):
        raise SystemExit(f"error: piece {int(rows.max())} in the rows is beyond the lexicon's {len(lexicon.pieces)}")
    spelt = [bytes(piece) for piece in lexicon.pieces]
    table, begins, offset, spaced = [], [], [0], []
    for number, piece in enumerate(spelt):
        is_text_start = number == TEXT_START
        symbols = [EOS, BOS] if is_text_start else [byte + BYTE_OFFSET for byte in piece]
        has_space = not is_text_start and len(piece) > 1 and piece[:1] == b" "
        table += symbols
        begins += [index == (1 if has_space else 0) for index in range(len(symbols))]
        offset.append(len(table))
        spaced.append(has_space)
    ids, starts = torch.tensor(table, dtype=torch.int16, device=device), torch.tensor(begins, device=device)
    offsets, has_space = torch.tensor(offset, device=device), torch.tensor(spaced, device=device)
    lengths = offsets[1:] - offsets[:-1]

    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    sizes: list[Tensor] = []
    for at in range(0, len(rows), ROWS_AT_ONCE):
        pieces = torch.from_numpy(rows[at : at + ROWS_AT_ONCE].astype(numpy.int64)).to(device)
        sizes.append(lengths[pieces].sum(1))
        flat = pieces.flatten()
        counts = lengths[flat]
        owner = torch.arange(len(flat), device=device).repeat_interleave(counts)
        within = torch.arange(len(owner), device=device) - (counts.cumsum(0) - counts)[owner]
        places = offsets[flat[owner]] + within
        given = (within == 0) & has_space[flat[owner]] & (owner % pieces.shape[1] > 0)
        parts.append((ids[places], starts[places], flat[owner - given.long()].to(torch.int32)))
    first = torch.cat([torch.zeros(1, dtype=torch.long, device=device), torch.cat(sizes).cumsum(0)])
    return PieceStream(*(torch.cat(part) for part in zip(*parts, strict=True)), first)
