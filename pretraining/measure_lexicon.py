"""Figures of the exact byte readout on whole files: bits per byte by bytes and by tokens, latent steps, fallback.

    python pretraining/measure_lexicon.py models/default FILE... --thresholds 0.1,0.3,0.5
"""

import argparse
import math
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from checkpoint import load_checkpoint
from latent_reference import load_latent
from lexicon_reference import Trunk, score, score_by_tokens
from model import BOS
from model import EOS as EOS_ID
from pieces import load_lexicon
from readout import EOS, SYMBOLS, Fallback, Rule


class CountModel:
    """Adaptive counts of the last 0..`order` bytes, blended from short to long (Witten-Bell); it learns as it is read.

    A stand-in for the byte model that a checkpoint brings: it knows nothing but the text so far.
    """

    def __init__(self, order: int = 5):
        self.order = order
        self.counts: dict[bytes, dict[int, int]] = defaultdict(dict)
        self.length = 0

    def __call__(self, text: bytes) -> np.ndarray:
        """Probabilities [257] after `text`, which must grow from call to call."""
        for end in range(self.length, len(text)):
            for order in range(min(self.order, end) + 1):
                followers = self.counts[text[end - order : end]]
                followers[text[end]] = followers.get(text[end], 0) + 1
        self.length = len(text)
        blend = np.full(SYMBOLS, 1 / 256)
        blend[EOS] = 1e-4
        for order in range(min(self.order, len(text)) + 1):
            followers = self.counts.get(text[len(text) - order :])
            if not followers:
                break
            total, distinct = sum(followers.values()), len(followers)
            blend *= distinct / (total + distinct)
            for byte, count in followers.items():
                blend[byte] += count / (total + distinct)
        return blend / blend.sum()


def patcher_fallback(checkpoint: Path, text: bytes) -> Fallback:
    """The patcher of a checkpoint, run over the whole text at once (it is causal)."""
    ids = torch.tensor([[BOS, *(byte + 4 for byte in text)]])
    probabilities = load_checkpoint(checkpoint).patcher_logits(ids)[0].softmax(-1).double().numpy()
    symbols = np.concatenate([probabilities[:, 4:], probabilities[:, EOS_ID : EOS_ID + 1]], axis=1)
    symbols /= symbols.sum(1, keepdims=True)
    return lambda prefix: symbols[len(prefix)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--thresholds", default="0.3", help="refresh thresholds, by commas")
    parser.add_argument("--shares", default="1e-4", help="fallback shares, by commas")
    parser.add_argument("--patcher", type=Path, help="checkpoint whose patcher is the fallback; else counts of the file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    latent, lexicon = load_latent(arguments.checkpoint), load_lexicon(arguments.checkpoint)
    rules = [
        Rule(refresh_threshold=float(threshold), fallback_share=float(share))
        for threshold in arguments.thresholds.split(",")
        for share in arguments.shares.split(",")
    ]
    sums = {rule: np.zeros(6) for rule in rules}
    byte_count, token_bits, token_count = 0, 0.0, 0
    for path in arguments.files:
        text = path.read_bytes()
        start = time.time()
        nats = score_by_tokens(latent, lexicon, text)
        bits = nats.sum() / math.log(2)
        byte_count, token_bits, token_count = byte_count + len(text), token_bits + bits, token_count + len(nats)
        took = f"{time.time() - start:.0f} s"
        print(f"{path.name}: {len(text)} bytes, {len(nats)} tokens, {bits / len(text):.4f} bpb, {took}", flush=True)
        trunk = Trunk(latent, lexicon, text)
        for rule in rules:
            start = time.time()
            fallback = patcher_fallback(arguments.patcher, text) if arguments.patcher else CountModel()
            result = score(trunk, rule, fallback)
            bits = -result.log_probability[:-1] / math.log(2)
            part = result.fallback_part[:-1]
            fallen = part > 0.5
            fallen_sums = [part.sum(), fallen.sum(), bits[fallen].sum()]
            sums[rule] += [bits.sum(), result.steps, result.positions, *fallen_sums]
            took = f"{len(text) / result.steps:.2f} bytes a step, {time.time() - start:.0f} s"
            print(f"  {label(rule)}: {bits.mean():.4f} bpb, {took}", flush=True)
    print(f"\n{byte_count} bytes, {token_count} tokens: {token_bits / byte_count:.4f} bpb by tokens")
    print("| rule | bpb | bytes a step | bytes a position | fallback's part | bytes it writes: share, bits each |")
    print("|---|---|---|---|---|---|")
    for rule, (bits, steps, positions, part, fallen, fallen_bits) in sums.items():
        print(
            f"| {label(rule)} | {bits / byte_count:.4f} | {byte_count / steps:.2f} | {byte_count / positions:.2f} "
            f"| {part / byte_count:.4f} | {fallen / byte_count:.4f}, {fallen_bits / max(fallen, 1):.2f} |"
        )


def label(rule: Rule) -> str:
    return f"refresh > {rule.refresh_threshold:g}, share {rule.fallback_share:g}"


if __name__ == "__main__":
    main()
