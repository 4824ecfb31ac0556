"""Figures of the exact byte readout on whole files: bits per byte by bytes and by tokens, latent steps, fallback.

    python pretraining/measure_lexicon.py models/default FILE... --thresholds 0.1,0.3,0.5
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch

from fallback import CountModel, patcher_fallback
from latent_reference import load_latent
from lexicon_reference import Trunk, score, score_by_tokens
from pieces import load_lexicon
from readout import Rule


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--thresholds", default="0.3", help="refresh thresholds, by commas")
    parser.add_argument("--shares", default="1e-4", help="fallback shares, by commas")
    parser.add_argument("--patcher", type=Path, help="checkpoint whose patcher, with counts, is the fallback; else counts alone")
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
