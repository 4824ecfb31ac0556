"""A learned gate between readout and byte model, beside the exact rule's own share, at several refresh thresholds.

    python pretraining/measure_gate.py models/default .cache/train/latents/validation --thresholds 0.1,0.3,0.5,0.8 \\
        [--decoder OUT/decoder.safetensors]

By the rule of docs/lexicon.md the byte model has the share of the mass that lies in ended pieces and its own small share of the word.
The gate gives it another share instead, the logistic function of a few numbers known before the byte: the logit of that share, the
entropies of both distributions, how sure each is. It is fitted to the bytes of every second text and measured on the others; a bias
alone is the least it can learn. All is causal and sums to one. With `--decoder` the byte model sees the newest latent.
"""

import argparse
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from add_patcher import stored_patcher
from cache_latents import load_all
from decoder import patcher_states, stored_decoder
from latent_reference import load_latent
from lexicon_reference import Trunk
from measure_decoder import ByteModel, QuietScore, byte_model_of
from model import BOS
from pieces import load_lexicon
from readout import OpenWord, Rule
from text_stream import BYTE_OFFSET

FEATURES = 6


@dataclass
class Places:
    """Of each byte: features [FEATURES], the rule's share of the byte model, and what each of the two gave the byte."""

    features: list[list[float]] = field(default_factory=list)
    share: list[float] = field(default_factory=list)
    readout: list[float] = field(default_factory=list)
    bytes: list[float] = field(default_factory=list)
    steps: int = 0

    def add(self, other: "Places") -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def tensors(self) -> tuple[torch.Tensor, ...]:
        return tuple(torch.tensor(each, dtype=torch.float64) for each in (self.features, self.share, self.readout, self.bytes))


class GateScore(QuietScore):
    """The exact rule; what a gate could know of each byte is kept."""

    def __init__(self, trunk: Trunk, rule: Rule, byte_model: ByteModel, masses: dict):
        super().__init__(trunk, rule, byte_model, 0.0, masses)
        self.places = Places()

    def _distribution(self, word: OpenWord, known: np.ndarray, length: int) -> np.ndarray:
        whole = super()._distribution(word, known, length)
        if length < len(self.trunk.text):
            byte, share = self.trunk.text[length], word.fallback_part()
            readout = (whole - share * known).clip(0) / max(1 - share, 1e-12)
            self.places.features.append(features_of(share, readout, known))
            self.places.share.append(share)
            self.places.readout.append(readout[byte])
            self.places.bytes.append(known[byte])
        return whole


def features_of(share: float, readout: np.ndarray, byte_model: np.ndarray) -> list[float]:
    """The bias, the share's logit, entropies in bits, logarithms of what is left beside the likeliest."""
    share = min(max(share, 1e-7), 1 - 1e-7)
    return [
        1.0,
        math.log(share / (1 - share)),
        *(-(p * np.log2(p.clip(1e-300))).sum() for p in (readout, byte_model)),
        *(math.log(max(1 - p.max(), 1e-6)) for p in (readout, byte_model)),
    ]


def fitted(features: torch.Tensor, readout: torch.Tensor, byte_model: torch.Tensor, used: list[int]) -> torch.Tensor:
    """Weights [FEATURES] of least bits; features that are not `used` keep the rule's own weight."""
    begin = torch.zeros(FEATURES, dtype=torch.float64)
    begin[1] = 1.0
    weights = torch.zeros(len(used), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = bits_of(features, readout, byte_model, begin.index_add(0, torch.tensor(used), weights)).mean()
        (loss + 1e-4 * weights.square().sum()).backward()
        return loss

    optimizer.step(closure)
    return begin.index_add(0, torch.tensor(used), weights.detach())


def bits_of(features: torch.Tensor, readout: torch.Tensor, byte_model: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    gate = torch.sigmoid(features @ weights)
    return -((1 - gate) * readout + gate * byte_model).clamp_min(1e-300).log2()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("latents", type=Path, help="held-out texts, as cache_latents.py keeps them")
    parser.add_argument("--thresholds", default="0.1,0.3,0.5,0.8", help="refresh thresholds, by commas")
    parser.add_argument("--decoder", type=Path)
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--longest", type=int, default=1500, help="bytes of one file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    latent, lexicon, patcher = load_latent(args.checkpoint), load_lexicon(args.checkpoint), stored_patcher(args.checkpoint)
    decoder = stored_decoder(args.decoder, patcher.config) if args.decoder else None
    thresholds = [float(each) for each in args.thresholds.split(",")]
    halves = {(threshold, half): Places() for threshold in thresholds for half in (0, 1)}
    for number, cached in enumerate(load_all(args.latents, lexicon)[: args.files]):
        text = cached.text[: args.longest]
        with torch.no_grad():
            trunk, masses = Trunk(latent, lexicon, text), {}
            ids = torch.tensor([[BOS, *(byte + BYTE_OFFSET for byte in text)]])
            states = patcher_states(patcher, ids)[0]
            logits = patcher.lm_head(patcher.norm(states))
            for threshold in thresholds:
                rule, byte_model = Rule(refresh_threshold=threshold), byte_model_of(text, logits, states, decoder)
                score = GateScore(trunk, rule, byte_model, masses)
                score.places.steps = score.run().steps
                halves[threshold, number % 2].add(score.places)
    print("\n".join(table(thresholds, halves)), flush=True)


def table(thresholds: list[float], halves: dict[tuple[float, int], Places]) -> list[str]:
    lines = ["| refresh above | bytes | steps a byte | rule, bpb | a bias | gate | its weights |", "|---|---|---|---|---|---|---|"]
    for threshold in thresholds:
        features, _, readout, byte_model = halves[threshold, 0].tensors()
        held, share, held_readout, held_bytes = halves[threshold, 1].tensors()
        rule = -((1 - share) * held_readout + share * held_bytes).clamp_min(1e-300).log2().mean().item()
        cells = [f"{threshold:g}", str(len(share)), f"{halves[threshold, 1].steps / len(share):.3f}", f"{rule:.4f}"]
        for used in ([0], list(range(FEATURES))):
            weights = fitted(features, readout, byte_model, used)
            cells.append(f"{bits_of(held, held_readout, held_bytes, weights).mean().item():.4f}")
        lines.append(f"| {' | '.join(cells)} | {' '.join(f'{w:.2f}' for w in weights.tolist())} |")
    return lines


if __name__ == "__main__":
    main()
