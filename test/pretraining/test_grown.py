"""The plain form begins as the patcher around the base's latent, trains and resumes, and loads in transformers."""

import argparse
import json
import math
from pathlib import Path

import pytest
import torch

from add_patcher import stored_patcher
from checkpoint import load_checkpoint
from evaluate_plain import score, transformers_bits
from grown import base_of, grow, wanted_vectors
from latent_reference import LatentCache, LatentTransformer, load_latent
from latent_training import begin_from
from lexicon_fixture import tiny_model, tiny_rows
from model import BOS, Blt, Patcher
from parity import load
from piece_stream import read_rows, stream_of
from pieces import load_lexicon
from train_grown import Grown, train
from train_patcher import SHAPES, logits_of, read_held_out, save_patcher
from training_run import TrainingStopped

CODE = b"const value = con(x);\n    return value == 42\n"
IDS = torch.tensor([[BOS, *(byte + 4 for byte in CODE)]])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny"))


def test_before_training_the_bytes_are_the_patchers(checkpoint: Path) -> None:
    model, _ = grown_model(checkpoint)
    with torch.no_grad():
        off = (model(IDS) - logits_of(stored_patcher(checkpoint), IDS)).abs().max()
    assert off < 1e-3, "but for the epsilon of the norms, which sees doubled inputs, they are the same"


def test_shown_what_is_wanted_the_latent_is_the_bases(checkpoint: Path) -> None:
    """One piece a patch, with the wanted vectors as input: the states of the base, at the stream's scale."""
    model, latent = grown_model(checkpoint)
    lexicon = load_lexicon(checkpoint)
    cut = lexicon.cut(CODE)
    vectors, exists = wanted_vectors(latent.embedding, torch.tensor([[0] + [piece for piece, _ in cut]]), torch.arange(len(cut) + 1)[None], len(cut) + 1)
    assert exists.all()
    with torch.no_grad():
        z = model.model.global_transformer(vectors, None)[0]
        normed = z * torch.rsqrt(z.square().mean(-1, keepdim=True)) * latent.norm
        states = latent.append([0, *(piece for piece, _ in cut)], LatentCache(latent.config))
    assert torch.allclose(normed, states, atol=1e-3)


def options(checkpoint: Path, out: Path, **change: object) -> argparse.Namespace:
    rows = tiny_rows(checkpoint / "rows.npy", load_lexicon(checkpoint), [CODE * 20] * 3, 64)
    values = {"checkpoint": checkpoint, "latent": None, "patcher": None, "rows_file": rows, "validation_file": rows}
    values |= {"validation_rows": 4, "out": out, "patch_length": 2.5, "hash_vocab": 101, "patches": 24, "latent_warmup": 2}
    values |= {"rows": 2, "length": 40, "local_steps": 6, "pull": 0.1, "minutes": 1e9, "steps": 14, "matrix_lr": 0.004}
    values |= {"lr": 0.004, "latent_lr": 0.001, "log_every": 1, "seed": 1, "threads": 1, "device": "cpu", "stop_after": None}
    return argparse.Namespace(**values | change)


def grown_model(checkpoint: Path, threshold: float = 5.4) -> tuple[Blt, LatentTransformer]:
    base = load_latent(checkpoint)
    return grow(base, stored_patcher(checkpoint), threshold, hash_vocab=101), base


def test_training_goes_on_after_an_interruption_and_transformers_agrees(checkpoint: Path, tmp_path: Path) -> None:
    train(options(checkpoint, tmp_path / "whole"))
    train(options(checkpoint, tmp_path / "parts", stop_after=9))
    train(options(checkpoint, tmp_path / "parts"))
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
    train(options(checkpoint, tmp_path / "out", stop_after=3))
    with pytest.raises(TrainingStopped, match="not a state of this model"):
        train(options(checkpoint, tmp_path / "out", hash_vocab=103))
    before = (tmp_path / "out" / "state.pt").read_bytes()
    nan = torch.tensor(math.nan, requires_grad=True)
    monkeypatch.setattr(Grown, "loss", lambda *_: (nan, nan))
    with pytest.raises(TrainingStopped, match="the loss of step 3 is nan; the last good state is in"):
        train(options(checkpoint, tmp_path / "out"))
    assert (tmp_path / "out" / "state.pt").read_bytes() == before


def test_a_patch_wants_the_piece_of_its_last_id() -> None:
    embedding = torch.arange(10.0)[:, None] * torch.ones(3)
    own = torch.tensor([[0, 1, 1, 2], [0, 0, 0, 0]])
    target, exists = wanted_vectors(embedding, torch.tensor([[5, 6, 7, 8], [1, 2, 3, 4]]), own, 4)
    assert exists.tolist() == [[True, True, True, False], [True, False, False, False]]
    assert (target[..., 0] / 512)[exists].tolist() == [5, 7, 8, 4]


def test_patches_beyond_the_most_do_not_count(checkpoint: Path) -> None:
    """With room for all patches but the last the loss is that of the ids before it, whatever comes after."""
    model, base = grown_model(checkpoint, threshold=0.0)
    ids = torch.cat([IDS, IDS.flip(1)])
    pieces = torch.zeros_like(ids[:, :-1])
    with torch.no_grad():
        short = Grown(model, base.embedding, 20).loss(ids, pieces, False)[0]
        logits = model(ids[:, :20])
        whole = torch.nn.functional.cross_entropy(logits[:, :19].flatten(0, 1), ids[:, 1:20].flatten())
    assert short.item() == pytest.approx(whole.item(), rel=1e-5), "a patch an id: ids 1 to 19 are of the first 20 patches"


def test_a_latent_trained_further_takes_the_bases_place(checkpoint: Path) -> None:
    base = load_latent(checkpoint)
    weights = begin_from(base)
    theirs = base_of(weights)
    pieces = [1, 5, 9, 3]
    states = theirs.append(pieces, LatentCache(theirs.config)) @ weights.readout
    logits = states @ weights.embedding.T
    wanted = base.logits(base.append(pieces, LatentCache(base.config)))
    assert torch.allclose(logits, wanted, atol=0.02 * wanted.abs().max().item()), "but for the rounding of the embedding"


def test_the_latents_rates_rise_after_the_local_steps(checkpoint: Path, tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in grown_model(checkpoint)[0].state_dict().items()}
    grown = train(options(checkpoint, tmp_path / "out", steps=6, local_steps=6))
    assert all(torch.equal(tensor, before[name]) for name, tensor in grown.blt.state_dict().items() if "global" in name)
    grown = train(options(checkpoint, tmp_path / "whole", steps=8, local_steps=6))
    moved = [name for name, tensor in grown.blt.state_dict().items() if not torch.equal(tensor, before[name])]
    assert any("global_transformer" in name for name in moved) and not any("patcher" in name for name in moved)


def test_a_fresh_patcher_takes_the_checkpoints_place(checkpoint: Path, tmp_path: Path) -> None:
    fresh = Patcher(SHAPES["test"], 260)
    save_patcher(fresh, tmp_path / "patcher.safetensors")
    args = options(checkpoint, tmp_path / "out", patcher=tmp_path / "patcher.safetensors", shape="test", steps=2, local_steps=1)
    grown = train(args)
    kept = load_checkpoint(tmp_path / "out" / "checkpoint")
    assert all(torch.equal(a, b) for a, b in zip(grown.blt.model.patcher.parameters(), fresh.parameters(), strict=True))
    held_out = stream_of(read_rows(args.validation_file, args.validation_rows), load_lexicon(checkpoint))
    _, entropy, _ = read_held_out(fresh, held_out)
    assert (entropy > kept.config.threshold).mean() == pytest.approx(1 / args.patch_length, abs=0.01)
