"""A tiny lexicon model with a tiny random patcher, as the scripts expect one on disk."""

import json
from pathlib import Path

import numpy
import torch
from safetensors.torch import load_file

from add_patcher import add_patcher
from golden_lexicon import write_checkpoint
from model import Patcher
from pieces import Lexicon
from train_patcher import SHAPES


def tiny_model(folder: Path, threshold: float = 5.4) -> Path:
    write_checkpoint(folder, "plain")
    places = dict.fromkeys(load_file(folder / "model.safetensors"), "model.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    torch.manual_seed(1)
    add_patcher(folder, Patcher(SHAPES["test"], 260), threshold)
    return folder


def tiny_rows(path: Path, lexicon: Lexicon, texts: list[bytes], width: int) -> Path:
    """Rows of `width` pieces of the texts, one after the other; the last row is filled with text starts."""
    pieces = [piece for text in texts for piece in [0, *(piece for piece, _ in lexicon.cut(text))]]
    numpy.save(path, numpy.array(pieces + [0] * (-len(pieces) % width), numpy.uint16).reshape(-1, width))
    return path


def tiny_data(path: Path, texts: dict[str, list[bytes]]) -> Path:
    """`path`.bin and `path`.json of one document a project, by language."""
    listing = [[f"{language}-{i}", "a.x", language, len(text)] for language in texts for i, text in enumerate(texts[language])]
    path.with_suffix(".json").write_text(json.dumps(listing))
    path.with_suffix(".bin").write_bytes(b"".join(text + b"\xff" for each in texts.values() for text in each))
    return path
