"""The local decoder begins as the patcher, sees one latent and no later byte, and its training can be interrupted."""

import argparse
import json
from pathlib import Path

import numpy
import pytest
import torch

from add_patcher import stored_patcher
from cache_latents import load_all, run, store
from decoder import Decoder, load_decoder, patcher_states, save_decoder
from latent_reference import load_latent
from lexicon_fixture import tiny_model
from model import BOS
from pieces import load_lexicon
from train_decoder import SHAPES, decoder_bits, patcher_bits, places_of, train
from train_patcher import logits_of

TEXTS = [b"const value = con(x);\n    return value\n", b"let's return const(value) == 7\n\n    return con\n"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    checkpoint = tiny_model(folder / "model")
    (folder / "latents").mkdir()
    with torch.no_grad():
        for i, text in enumerate(TEXTS):
            store(folder / "latents" / f"{i}.npz", run(load_latent(checkpoint), load_lexicon(checkpoint), text))
    return folder


def options(folder: Path, out: Path, **change: object) -> argparse.Namespace:
    values = {"checkpoint": folder / "model", "latents": folder / "latents", "validation": None, "patcher": None}
    values |= {"out": out, "shape": "test", "vectors": 2, "dropout": 0.1, "lags": [0.6, 0.4], "rows": 16}
    values |= {"minutes": 1e9, "steps": 12, "matrix_lr": 0.005, "lr": 0.01, "average": 0.9, "log_every": 1}
    return argparse.Namespace(**values | {"seed": 1, "stop_after": None} | change)


def test_it_begins_as_the_patcher(folder: Path) -> None:
    patcher = stored_patcher(folder / "model")
    decoder = Decoder(SHAPES["test"], 32, 2)
    decoder.begin_from(patcher)
    ids = torch.tensor([[BOS, *(byte + 4 for byte in TEXTS[0])]])
    with torch.no_grad():
        y = patcher_states(patcher, ids)[0]
        found = decoder(y, torch.randn(len(y), 32), torch.arange(len(y)))
        assert torch.allclose(found, logits_of(patcher, ids)[0], atol=1e-5)


def test_a_byte_has_one_latent(folder: Path) -> None:
    torch.manual_seed(2)
    decoder = Decoder(SHAPES["test"], 32, 2)
    for layer in decoder.layers:
        torch.nn.init.normal_(layer.cross_attn.o_proj.weight)
    y, z, offset = torch.randn(5, 16), torch.randn(5, 32), torch.tensor([0, 3, 47, 60, 1])
    with torch.no_grad():
        whole, other = decoder(y, z, offset), z.clone()
        other[2] += 1
        off = (decoder(y, other, offset) - whole).abs().amax(1)
        alone = decoder(y[3:4], z[3:4], offset[3:4])
    assert off[2] > 1e-3 and off[[0, 1, 3, 4]].max() == 0
    assert torch.allclose(alone[0], whole[3], atol=1e-5)


def test_places(folder: Path) -> None:
    """Against plain loops: the latent of a place has ended `lag` pieces before the newest that has."""
    texts = load_all(folder / "latents", load_lexicon(folder / "model"))
    places = places_of(stored_patcher(folder / "model"), texts)
    assert bytes((places.targets - 4).tolist()) == b"".join(TEXTS)
    at = 0
    for cached in texts:
        ends = [*cached.starts.tolist(), len(cached.text)]
        for byte in range(len(cached.text)):
            ended = max(i for i, end in enumerate(ends) if end <= byte)
            for lag in (0, 1, 3):
                _, z, offset, target = places.sample(numpy.array([at + byte]), numpy.array([lag]))
                row = max(0, ended - lag)
                assert torch.allclose(z[0], cached.states[row], atol=1e-6)
                assert (offset.item(), target.item() - 4) == (byte - ends[row], cached.text[byte])
        at += len(cached.text)


def test_training_learns_and_goes_on_after_an_interruption(folder: Path, tmp_path: Path) -> None:
    train(options(folder, tmp_path / "whole"))
    train(options(folder, tmp_path / "parts", stop_after=5))
    train(options(folder, tmp_path / "parts"))
    logs = [[json.loads(line)["loss"] for line in (tmp_path / name / "log.jsonl").read_text().splitlines()] for name in ("whole", "parts")]
    assert logs[0] == logs[1]
    decoder = train(options(folder, tmp_path / "long", steps=150))
    places = places_of(stored_patcher(folder / "model"), load_all(folder / "latents"))
    assert decoder_bits(decoder, places, 1) < 0.8 * patcher_bits(stored_patcher(folder / "model"), places)
    again = Decoder(SHAPES["test"], 32, 2).eval()
    load_decoder(again, tmp_path / "long" / "decoder.safetensors")
    assert decoder_bits(again, places, 1) == pytest.approx(decoder_bits(decoder, places, 1))


def test_weights_are_whole_or_absent(tmp_path: Path) -> None:
    save_decoder(Decoder(SHAPES["test"], 32, 2), tmp_path / "decoder.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["decoder.safetensors"]
