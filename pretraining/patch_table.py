"""Where patches of the rule `start iff H > t` start: thresholds for wanted lengths, and how often a piece starts there."""

import math

import numpy

LENGTHS = (3.0, 3.5, 4.0, 4.5, 5.0, 6.0)


def threshold_for(entropy: numpy.ndarray, length: float) -> float:
    """Nats above which one of `length` bytes lies; entropy [n] before each byte."""
    return float(numpy.quantile(entropy, 1 - 1 / length))


def patch_table(entropy: numpy.ndarray, starts: numpy.ndarray) -> list[str]:
    """Lines of the table; entropy [n] nats and starts of pieces [n] (see PieceStream) at each byte."""
    lines = ["", "| bytes a patch | threshold, nats | starts at a piece's start | pieces whose start is one |", "|---|---|---|---|"]
    for length in LENGTHS:
        threshold = threshold_for(entropy, length)
        chosen = entropy > threshold
        both = (chosen & starts).sum()
        lines.append(f"| {length:g} | {threshold:.3f} | {both / chosen.sum():.3f} | {both / starts.sum():.3f} |")
    mean = {value: entropy[starts == value].mean() / math.log(2) for value in (True, False)}
    lines.append(f"mean entropy where a piece starts {mean[True]:.2f} bits, elsewhere {mean[False]:.2f}")
    return lines
