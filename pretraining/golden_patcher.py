"""Writes test/golden/lexicon/patcher.json: what the patcher of models/default says along a text, for the runtime's test.

    python pretraining/golden_patcher.py models/default test/golden/lexicon/patcher.json
"""

import argparse
import json
from pathlib import Path

import torch

from add_patcher import stored_patcher
from fallback import patcher_logits, symbols
from model import entropies

TEXT = """export function clamp(value: number, low: number, high: number): number {
  if (low > high) throw new RangeError(`${low} is above ${high}`);
  return Math.min(Math.max(value, low), high);
}

def mean(values):
    \"\"\"Arithmetic mean; 0 for no values. Größe egal.\"\"\"
    return sum(values) / len(values) if values else 0
"""


def golden(folder: Path) -> dict:
    """`log_probability` of each byte (nats, among bytes and EOS), `entropy` (nats, of all 260 ids) before each byte."""
    text = TEXT.encode()
    with torch.no_grad():
        logits = patcher_logits(stored_patcher(folder), text)[:-1]
    probability = torch.from_numpy(symbols(logits))[torch.arange(len(text)), list(text)]
    rounded = {"log_probability": probability.log(), "entropy": entropies(logits)}
    return {"text": TEXT} | {name: [round(x, 5) for x in values.tolist()] for name, values in rounded.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    args.out.write_text(json.dumps(golden(args.checkpoint)) + "\n")


if __name__ == "__main__":
    main()
