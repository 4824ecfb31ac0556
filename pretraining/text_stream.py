"""Documents of the prepared .bin files as one stream of ids."""

import json
from pathlib import Path

import numpy

from model import BOS, EOS

BYTE_OFFSET = 4


def read_split(split: Path) -> list[tuple[str, str, str, bytes]]:
    """Project, path, language and text of a split's files; SPLIT.json and SPLIT.bin as prepare.py writes them."""
    listing = json.loads(split.with_suffix(".json").read_text())
    texts = split.with_suffix(".bin").read_bytes().split(b"\xff")[:-1]
    return [(project, path, language, text) for (project, path, language, _), text in zip(listing, texts, strict=True)]


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
