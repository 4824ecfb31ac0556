"""The comparison finds what it should: run against a stand-in for the command line that repeats stored numbers."""

import json
import sys
from pathlib import Path

import pytest
import torch

from parity import Reference, as_golden, difference, load, main, reference
from random_checkpoint import Shape, make_checkpoint, sample_ids

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.mark.parametrize("name", ["k2", "k4"])
def test_reference_repeats_the_golden_files(name: str) -> None:
    model = load(GOLDEN / name)
    for case in json.loads((GOLDEN / name / "golden.json").read_text())["cases"]:
        if case["semantics"] != "hf":
            continue
        found = as_golden(case["name"], reference(model, case["tokens"]))
        assert found.keys() == case.keys()
        assert found["hf_patch_lengths"] == case["hf_patch_lengths"]
        assert found["patch_lengths_with_next"] == case["patch_lengths_with_next"]
        assert (torch.tensor(found["logits"]) - torch.tensor(case["logits"])).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, 0),
        ({"logits": 5e-5}, 0),
        ({"logits": 3e-4}, 1),
        ({"entropies": 3e-4}, 1),
        ({"logits": float("nan")}, 1),
        ({"patchLengths": 1}, 1),
    ],
)
def test_compare(
    change: dict, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    make_checkpoint(tmp_path, Shape(hash_vocab=101))
    ids = sample_ids(1, 20)[0].tolist()
    case = reference(load(tmp_path), ids)
    logits, entropies, lengths = case.logits.clone(), case.entropies.clone(), list(case.patch_lengths)
    logits[7, 9] += change.get("logits", 0)
    entropies[3] += change.get("entropies", 0)
    if "patchLengths" in change:
        lengths[2:3] = [lengths[2] + 1, lengths[3] - 1]
    answer = {"logits": logits.tolist(), "entropies": entropies.tolist(), "patchLengths": lengths}
    cli = tmp_path / "cli.js"
    cli.write_text(f"console.log({json.dumps(json.dumps(answer))})")
    arguments = ["compare", str(tmp_path), "--cli", str(cli), "--ids", ",".join(map(str, ids))]
    assert run(arguments, monkeypatch) == code
    assert ("DIFFERS" in capsys.readouterr().out) is bool(code)


def test_last_position_when_patches_are_capped() -> None:
    """Either of transformers' two answers is right at the last position, and only there."""
    logits, longer = torch.zeros(3, 4), torch.ones(4)
    case = Reference([1, 5, 6], [1, 2], torch.zeros(3), torch.tensor([[True, True, False, False]]), logits, longer)
    theirs = torch.zeros(3, 4)
    theirs[2] = 1
    assert not difference(case, theirs, torch.zeros(3), [1, 3], capped=True).bad
    assert difference(case, theirs, torch.zeros(3), [1, 3], capped=False).bad
    theirs[1] = 1
    assert difference(case, theirs, torch.zeros(3), [1, 3], capped=True).bad
    assert not difference(case, logits, torch.zeros(3), [1, 2, 1], capped=True).bad
    assert difference(case, logits, torch.zeros(3), [1, 2, 1], capped=False).bad


def test_random(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two fresh checkpoints against a command line whose answer can only be wrong."""
    cli = tmp_path / "cli.js"
    answer = {"logits": [[0] * 260] * 3, "entropies": [0] * 3, "patchLengths": [1, 2]}
    cli.write_text(f"console.log({json.dumps(json.dumps(answer))})")
    assert run(["random", "--count", "2", "--lengths", "3", "--cli", str(cli)], monkeypatch) == 1


def test_failing_command_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli = tmp_path / "cli.js"
    cli.write_text("console.error('no such flag'); process.exit(2)")
    message = run(["compare", str(GOLDEN / "k2"), "--cli", str(cli), "--ids", "1,70"], monkeypatch)
    assert "ended with code 2: no such flag" in str(message)


def test_missing_command_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = run(["random", "--count", "1", "--cli", str(tmp_path / "cli.js")], monkeypatch)
    assert "cli.js is missing: build it first" in str(message)


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["parity.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code
