"""The PyTorch twin against the golden files, transformers and itself."""

import dataclasses
import json
import random
from pathlib import Path

import pytest
import torch

from checkpoint import load_checkpoint
from config import BltConfig, StackConfig, from_hf, to_hf
from model import (
    BOS,
    Blt,
    _causal_attention,
    entropies,
    hash_ids,
    split_long,
    starts_from_entropies,
    starts_from_lengths,
)
from parity import Reference, difference, load, reference, undecided, varied_shape
from random_checkpoint import make_checkpoint, sample_ids

GOLDEN = Path(__file__).parent.parent / "golden"
TOLERANCE = 1e-4


def golden_cases() -> list:
    cases = [
        (name, case)
        for name in ("k2", "k4")
        for case in json.loads((GOLDEN / name / "golden.json").read_text())["cases"]
    ]
    return [pytest.param(name, case, id=f"{name}-{case['name']}") for name, case in cases]


@pytest.mark.parametrize(("name", "case"), golden_cases())
def test_golden(name: str, case: dict) -> None:
    meta = case["semantics"] == "meta"
    model = load_checkpoint(GOLDEN / name, windows=meta, documents=meta)
    model.config.max_patch_length = case.get("override", {}).get("max_patch_length")
    model.config.patcher.window = case.get("patcher_window")
    model.config.encoder.window = model.config.decoder.window = case.get("local_window")
    ids = torch.tensor([case["tokens"]])
    with torch.no_grad():
        entropy, starts = entropies(model.patcher_logits(ids))[0], model.patch_starts(ids)
        logits = model(ids)[0]
    assert lengths_of(starts) == case["patch_lengths_with_next"]
    assert (entropy - torch.tensor(case["entropies"])).abs().max() <= TOLERANCE
    assert (logits - torch.tensor(case["logits"])).abs().max() <= TOLERANCE


def test_golden_hashes() -> None:
    """Meta's own rows for the ids of the golden files."""
    for vector in json.loads((GOLDEN / "k2" / "golden.json").read_text())["hash"]:
        config = dataclasses.replace(tiny_config(), hash_group_sizes=[vector["group"]], hash_vocab=vector["vocab"])
        config.hash_functions = vector["fn"] + 1
        found = hash_ids(torch.tensor([vector["tokens"]]), config)[0, :, vector["fn"]]
        assert (found - vector["fn"] * vector["vocab"]).tolist() == vector["ids"]


def decided_case(theirs: torch.nn.Module, length: int, seed: int) -> tuple[torch.Tensor, Reference]:
    """A text [1, length] no entropy of which is so close to the threshold that rounding decides, and its reference."""
    for other in range(seed, seed + 60, 6):
        ids = sample_ids(1, length, other)
        case = reference(theirs, ids[0].tolist())
        if not undecided(case, theirs.config.patching_threshold):
            return ids, case
    raise AssertionError(f"ten texts of {length} ids, each undecided")


@pytest.mark.parametrize("number", range(6))
def test_same_as_transformers(number: int, tmp_path: Path) -> None:
    """Random checkpoints of varied sizes, k, grouped-query, dtypes, shards, max_patch_length."""
    source = random.Random(7)
    shape, dtype, shards = [varied_shape(source, i) for i in range(number + 1)][-1]
    make_checkpoint(tmp_path, shape, dtype, shards, seed=number)
    theirs, ours = load(tmp_path), load_checkpoint(tmp_path, windows=False, documents=False)
    for length in (1, 2, 150):
        ids, case = decided_case(theirs, length, number)
        with torch.no_grad():
            starts, logits, entropy = ours.patch_starts(ids), ours(ids)[0], entropies(ours.patcher_logits(ids))[0]
        found = difference(case, logits, entropy, lengths_of(starts), shape.max_patch_length > 0)
        assert not found.bad, found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("documents", [False, True])
@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("max_patch_length", [None, 3])
def test_causality(seed: int, documents: bool, windows: bool, max_patch_length: int | None) -> None:
    """Changing a later id changes no earlier distribution, and does change a later one."""
    model = tiny_model(seed, windows, documents, max_patch_length)
    ids = random_ids(1, 60, seed)
    position = 20 + 10 * seed
    changed = ids.clone()
    changed[0, position] = (changed[0, position] - 3) % 256 + 4
    with torch.no_grad():
        before, after = model(ids), model(changed)
    assert torch.allclose(before[:, :position], after[:, :position], atol=1e-5)
    assert (before[:, position:] - after[:, position:]).abs().max() > 1e-2


@pytest.mark.parametrize("documents", [False, True])
def test_rows_are_independent(documents: bool) -> None:
    """A row of a batch gives what it gives alone, whatever number of patches its neighbours have."""
    model = tiny_model(1, True, documents, None)
    ids = random_ids(4, 50, 3)
    with torch.no_grad():
        together = model(ids)
        alone = torch.cat([model(ids[row : row + 1]) for row in range(4)])
    counts = set(model.patch_starts(ids).sum(1).tolist())
    assert len(counts) > 1
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("length", [9, 16, 17, 40])
@pytest.mark.parametrize("documents", [False, True])
def test_block_attention(length: int, documents: bool) -> None:
    """Windowed attention in blocks equals a softmax over explicitly listed keys."""
    torch.manual_seed(length)
    query, key, value = torch.randn(3, 2, 2, length, 4).unbind(0)
    document = torch.tensor([[i // 11 for i in range(length)], [i // 6 for i in range(length)]])
    found = _causal_attention(query, key, value, 4, document if documents else None)
    for row in range(2):
        for i in range(length):
            same = [j for j in range(max(0, i - 3), i + 1) if not documents or document[row, j] == document[row, i]]
            weight = (key[row][:, same] @ query[row][:, i, :, None] * 0.5).softmax(1)
            assert torch.allclose(found[row, :, i], (weight * value[row][:, same]).sum(1), atol=1e-5)


def test_every_parameter_learns() -> None:
    model = tiny_model(1, True, True, None)
    ids = random_ids(2, 40, 1)
    (model(ids).pow(2).mean() + model.patcher_logits(ids).pow(2).mean()).backward()
    still = [name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert still == []


@pytest.mark.parametrize(
    ("entropy", "longest", "starts"),
    [
        ([9.0], None, [1, 1]),
        ([0.0, 0.5], None, [1, 1, 0]),
        ([0.0, 1.5], None, [1, 1, 1]),
        ([9.0, 0.5, 2.0, 1.0], None, [1, 1, 0, 1, 0]),
        ([9.0, 0.5, 0.5, 0.5, 0.5, 0.5, 2.0, 0.5], 2, [1, 1, 0, 1, 0, 1, 0, 1, 0]),
        ([9.0, 0.5, 2.0, 0.5, 0.5, 0.5, 0.5, 0.5], 3, [1, 1, 0, 1, 0, 0, 1, 0, 0]),
    ],
)
def test_patch_starts(entropy: list[float], longest: int | None, starts: list[int]) -> None:
    assert starts_from_entropies(torch.tensor([entropy]), 1.0, longest).int().tolist() == [starts]


@pytest.mark.parametrize(
    ("lengths", "n", "starts"),
    [
        ([1, 2, 1], 4, [1, 1, 0, 1, 0]),
        ([1, 2, 1, 0], 4, [1, 1, 0, 1, 1]),
        ([1, 2, 1, 1], 4, [1, 1, 0, 1, 1]),
        ([1, 0], 1, [1, 1]),
    ],
)
def test_starts_from_lengths(lengths: list[int], n: int, starts: list[int]) -> None:
    assert starts_from_lengths(torch.tensor(lengths), n).int().tolist() == [starts]


def test_split_long_keeps_natural_starts() -> None:
    starts = torch.rand(5, 80, generator=torch.Generator().manual_seed(1)) < 0.1
    starts[:, 0] = True
    split = split_long(starts, 6)
    assert (split >= starts).all()
    assert max(length for row in split for length in lengths_of(row[None])) <= 6


def test_config_round_trip() -> None:
    config = tiny_config()
    config.max_patch_length = 9
    assert from_hf(to_hf(config)) == config


@pytest.mark.parametrize("change", [{"heads": 5}, {"kv_heads": 3}, {"hidden_size": 6}])
def test_config_refuses(change: dict) -> None:
    with pytest.raises(ValueError, match="heads"):
        dataclasses.replace(StackConfig(16, 1, 2, 2, 24), **change)


def tiny_config() -> BltConfig:
    return BltConfig(
        patcher=StackConfig(16, 2, 2, 1, 24, rope_theta=10000.0, window=8),
        encoder=StackConfig(16, 1, 2, 1, 24, window=8),
        latent=StackConfig(24, 2, 3, 1, 32, max_positions=4096),
        decoder=StackConfig(16, 2, 2, 2, 24, window=8),
        hash_vocab=31,
        threshold=2.5,
    )


def tiny_model(seed: int, windows: bool, documents: bool, max_patch_length: int | None) -> Blt:
    """Random weights; the patcher's head is scaled so that entropies lie on both sides of the threshold."""
    torch.manual_seed(seed)
    config = dataclasses.replace(tiny_config(), max_patch_length=max_patch_length)
    model = Blt(config, windows, documents)
    with torch.no_grad():
        model.model.patcher.lm_head.weight *= 3.5
        config.threshold = entropies(model.patcher_logits(random_ids(4, 60, seed))).median().item()
    return model


def random_ids(rows: int, length: int, seed: int) -> torch.Tensor:
    """BOS and random ids, some of them EOS."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(4, 260, (rows, length), generator=generator)
    ids[torch.rand(rows, length, generator=generator) < 0.04] = 2
    ids[:, 0] = BOS
    return ids


def lengths_of(starts: torch.Tensor) -> list[int]:
    firsts = starts[0].nonzero()[:, 0].tolist()
    return [b - a for a, b in zip(firsts, [*firsts[1:], starts.shape[1]], strict=True)]
