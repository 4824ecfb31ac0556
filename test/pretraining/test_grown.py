"""The plain form begins as the patcher around the base's latent, trains and resumes, and loads in transformers."""

import argparse
import json
import math
from pathlib import Path

import pytest
import torch

from add_patcher import stored_patcher
from checkpoint import load_checkpoint
from grown import LowRankLinear, adapt, grow, merge, wanted_vectors
from latent_reference import LatentCache, load_latent
from lexicon_fixture import tiny_data, tiny_model
from evaluate_plain import score, transformers_bits
from model import BOS, EOS, entropies
from parity import load
from pieces import load_lexicon
from train_grown import Grown, train
from train_patcher import logits_of
from training_run import TrainingStopped

CODE = b"const value = con(x);\n    return value == 42\n"
IDS = torch.tensor([[BOS, *(byte + 4 for byte in CODE)]])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny"))


def test_before_training_the_bytes_are_the_patchers(checkpoint: Path) -> None:
    model, _ = grow(checkpoint, 5.4, hash_vocab=101)
    with torch.no_grad():
        off = (model(IDS) - logits_of(stored_patcher(checkpoint), IDS)).abs().max()
    assert off < 1e-3, "but for the epsilon of the norms, which sees doubled inputs, they are the same"


def test_shown_what_is_wanted_the_latent_is_the_bases(checkpoint: Path) -> None:
    """Patches that are canonical pieces, with the wanted vectors as input: the states of the base, at the stream's scale."""
    model, base = grow(checkpoint, 5.4, hash_vocab=101)
    latent, lexicon = load_latent(checkpoint), load_lexicon(checkpoint)
    cut = lexicon.cut(CODE)
    spaced = [start + (lexicon.pieces[piece][:1] == b" " and len(lexicon.pieces[piece]) > 1) for piece, start in cut]
    starts = torch.zeros(1, IDS.shape[1] + 1, dtype=torch.bool)
    starts[0, [0, *(start + 1 for start in spaced)]] = True
    vectors, places = wanted_vectors(base, lexicon, IDS, starts)
    assert places[:, 1].tolist() == list(range(len(cut) + 1))
    with torch.no_grad():
        z = model.model.global_transformer(vectors[None], None)[0]
        normed = z * torch.rsqrt(z.square().mean(-1, keepdim=True)) * latent.norm
        states = latent.append([lexicon.bos, *(piece for piece, _ in cut)], LatentCache(latent.config))
    assert torch.allclose(normed, states, atol=1e-3)


def test_low_rank_additions_merge(checkpoint: Path) -> None:
    model, _ = grow(checkpoint, 5.4, hash_vocab=101)
    stack = model.model.global_transformer
    names = list(model.state_dict())
    x = torch.randn(1, 7, 32)
    with torch.no_grad():
        before = stack(x, None)
        adapt(stack, 2)
        assert torch.equal(stack(x, None), before)
        for module in stack.modules():
            if isinstance(module, LowRankLinear):
                module.up.normal_(std=0.1)
        changed = stack(x, None)
        merge(stack)
        assert torch.allclose(stack(x, None), changed, rtol=1e-3, atol=1e-1) and not torch.allclose(changed, before, rtol=1e-2)
    assert list(model.state_dict()) == names


def options(checkpoint: Path, data: Path, out: Path, **change: object) -> argparse.Namespace:
    with torch.no_grad():
        ordered = entropies(logits_of(stored_patcher(checkpoint), IDS))[0].sort().values
    threshold = ordered[20:22].mean().item()
    values = {"checkpoint": checkpoint, "data": [data], "out": out, "threshold": threshold, "hash_vocab": 101, "rank": 2}
    values |= {"rows": 2, "length": 40, "local_steps": 6, "pull": 0.1, "minutes": 1e9, "steps": 14, "matrix_lr": 0.004}
    values |= {"lr": 0.004, "latent_lr": 0.001, "log_every": 1, "seed": 1, "threads": 1, "stop_after": None, "export": False}
    return argparse.Namespace(**values | change)


def test_training_goes_on_after_an_interruption_and_transformers_agrees(checkpoint: Path, tmp_path: Path) -> None:
    data = tiny_data(tmp_path / "train", {"Python": [CODE * 20] * 3}).with_suffix(".bin")
    train(options(checkpoint, data, tmp_path / "whole"))
    train(options(checkpoint, data, tmp_path / "parts", stop_after=9))
    train(options(checkpoint, data, tmp_path / "parts"))
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("whole", "parts")]
    losses = [[json.loads(line)["loss"] for line in log] for log in logs]
    assert losses[0] == losses[1] and losses[0][-1] < losses[0][6]
    theirs, ours = load(tmp_path / "whole" / "checkpoint"), load_checkpoint(tmp_path / "whole" / "checkpoint")
    assert ours.config.encoder.window == 8 < len(CODE)
    found = score(ours, CODE)
    assert transformers_bits(theirs, CODE) == pytest.approx(found.bits, rel=1e-4)
    with torch.no_grad():
        x, y = IDS[:, :-1], IDS[0, 1:]
        starts = ours.patch_starts(x)
        assert 3 < starts.sum() < len(CODE)
        nats = torch.nn.functional.cross_entropy(ours(x, starts)[0], y, reduction="sum")
    assert found.bits == pytest.approx(nats.item() / math.log(2))


def test_nan_stops_and_another_shape_is_refused(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiny_data(tmp_path / "train", {"Python": [CODE * 20] * 3}).with_suffix(".bin")
    train(options(checkpoint, data, tmp_path / "out", stop_after=3))
    with pytest.raises(TrainingStopped, match="not a state of this model"):
        train(options(checkpoint, data, tmp_path / "out", rank=3))
    before = (tmp_path / "out" / "state.pt").read_bytes()
    nan = torch.tensor(math.nan, requires_grad=True)
    monkeypatch.setattr(Grown, "loss", lambda *_: (nan, nan))
    with pytest.raises(TrainingStopped, match="the loss of step 3 is nan; the last good state is in"):
        train(options(checkpoint, data, tmp_path / "out"))
    assert (tmp_path / "out" / "state.pt").read_bytes() == before


def test_every_patch_has_a_wanted_vector_but_one_of_a_space_given_away(checkpoint: Path) -> None:
    base, lexicon = load_latent(checkpoint), load_lexicon(checkpoint)
    ids = torch.tensor([[BOS, 4 + 32, 4 + 97, EOS, BOS, 4 + 97]])
    starts = torch.tensor([[True, True, True, True, True, True, True]])
    vectors, places = wanted_vectors(base, lexicon, ids, starts)
    numbers = places[:, 1].tolist()
    assert set(numbers) >= {0, 2, 3, 4, 5} and len(vectors) == len(numbers)
    pieces = {number: int((base.embedding * 512 - vector).abs().sum(1).argmin()) for number, vector in zip(numbers, vectors)}
    assert pieces[0] == pieces[4] == lexicon.bos and pieces[3] == lexicon.eos
