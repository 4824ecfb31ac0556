"""Curves of training logs."""

import json
from pathlib import Path

import pytest

from plot_log import curve, draw, running_mean


def test_curve_counts_a_repeated_step_once(tmp_path: Path) -> None:
    records = [{"step": 1, "seconds": 60, "bpb": 4}, {"step": 2, "seconds": 120, "bpb": 3}, {"step": 2, "seconds": 180, "bpb": 2}]
    path = tmp_path / "run" / "log.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert curve(path) == ([1, 3], [4, 2])
    draw([path], tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    path.write_text("")
    with pytest.raises(SystemExit, match=r"log\.jsonl holds no steps yet"):
        curve(path)


def test_running_mean() -> None:
    assert running_mean([2, 2, 2]) == pytest.approx([2, 2, 2])
    assert running_mean([0, 1])[1] == pytest.approx(0.15 / (1 - 0.85**2))
