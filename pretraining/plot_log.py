"""Draws the bits per byte of training logs: a point a logged step, and their running mean.

    python pretraining/plot_log.py pretraining/patcher.png .cache/train/patcher/log.jsonl
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

SMOOTHING = 0.85


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("logs", type=Path, nargs="+")
    args = parser.parse_args()
    draw(args.logs, args.out)


def draw(logs: list[Path], out: Path) -> None:
    """One curve a log, against minutes of the clock."""
    figure, axes = pyplot.subplots(figsize=(6, 3.5))
    for path in logs:
        minutes, bpb = curve(path)
        points = axes.plot(minutes, bpb, ".", markersize=2, alpha=0.4)
        axes.plot(minutes, running_mean(bpb), color=points[0].get_color(), label=path.parent.name)
    axes.set(xlabel="minutes of the clock", ylabel="bits per byte (training)")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(out, dpi=90)
    pyplot.close(figure)


def curve(path: Path) -> tuple[list[float], list[float]]:
    """(minutes, bpb) of a log; a step that was done again after an interruption counts once."""
    records: dict[int, dict] = {}
    for line in path.read_text().splitlines():
        record = json.loads(line)
        records[record["step"]] = record
    if not records:
        raise SystemExit(f"error: {path} holds no steps yet")
    ordered = [records[step] for step in sorted(records)]
    return [record["seconds"] / 60 for record in ordered], [record["bpb"] for record in ordered]


def running_mean(values: list[float]) -> list[float]:
    """Exponential, without the bias of its beginning."""
    mean, weight, result = 0.0, 0.0, []
    for value in values:
        mean, weight = SMOOTHING * mean + (1 - SMOOTHING) * value, SMOOTHING * weight + 1 - SMOOTHING
        result.append(mean / weight)
    return result


if __name__ == "__main__":
    main()
