"""Documents of the prepared .bin files as one stream of ids, and rows drawn from it by step."""

from pathlib import Path

import numpy
import torch
from torch import Tensor

from model import BOS, EOS

BYTE_OFFSET = 4


def read_ids(files: list[Path]) -> numpy.ndarray:
    """Ids of .bin files (see prepare.py): BOS bytes EOS BOS bytes EOS ..."""
    for file in files:
        if not file.exists():
            raise SystemExit(f"error: {file} is missing; run prepare.py first")
    text = numpy.concatenate([numpy.fromfile(file, dtype=numpy.uint8) for file in files])
    if not len(text):
        raise SystemExit(f"error: {', '.join(map(str, files))}: no text to train on; run prepare.py first")
    ends = numpy.flatnonzero(text == 0xFF)
    ids = text.astype(numpy.int16) + BYTE_OFFSET
    ids[ends] = EOS
    return numpy.insert(ids, numpy.concatenate([[0], ends[:-1] + 1]), BOS)


def first_of_rows(count: int, length: int, rows: int, seed: int, step: int) -> numpy.ndarray:
    """Where the rows of a step begin in a stream of `count` ids; the same for the same seed and step."""
    return numpy.random.default_rng([seed, step]).integers(0, count - length - 1, rows)


def rows_of(ids: numpy.ndarray, firsts: numpy.ndarray, length: int) -> Tensor:
    """[rows, length + 1] ids; where a row begins inside a document it has no BOS."""
    return torch.from_numpy(numpy.stack([ids[first : first + length + 1] for first in firsts]).astype(numpy.int64))
