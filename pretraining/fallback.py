"""The fallback byte model of the lexicon: counts of the text so far, alone or over a checkpoint's patcher.

As in model-runtime/lexicon/byte-model.ts. Distributions are [257]: bytes, then EOS.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from add_patcher import stored_patcher
from model import BOS, EOS, Patcher
from readout import EOS as EOS_SYMBOL
from readout import SYMBOLS, Fallback
from text_stream import BYTE_OFFSET
from train_patcher import logits_of


# Of a trained model's distribution with counts over it, so much is spread over all bytes: where a piece has ended against all likelihood,
# the model knows only what the likely pieces would have brought, and is far too sure of it (log.md: the fallback that is too sure).
EVEN_SHARE = 0.01
EOS_WEIGHT = 1e-4  # where nothing is known and all bytes together weigh 1
EVEN = 1 / 256 / (1 + EOS_WEIGHT)  # a byte's probability there


class CountModel:
    """Counts of what followed the last `shortest` to `longest` bytes, blended from short to long; it learns as it is read.

    A shorter context's distribution weighs `trust` for each different byte that followed the longer one (1: Witten-Bell).
    """

    def __init__(self, shortest: int = 0, longest: int = 5, trust: float = 1):
        self.shortest, self.longest, self.trust = shortest, longest, trust
        self.counts: dict[bytes, dict[int, int]] = defaultdict(dict)
        self.length = 0
        self.nothing = np.full(SYMBOLS, 1 / 256)
        self.nothing[EOS_SYMBOL] = EOS_WEIGHT

    def __call__(self, text: bytes, known: np.ndarray | None = None) -> np.ndarray:
        """Probabilities [257] after `text`, which must grow from call to call; `known` is what is known without counts."""
        for end in range(self.length, len(text)):
            for order in range(min(self.longest, end) + 1):
                followers = self.counts[text[end - order : end]]
                followers[text[end]] = followers.get(text[end], 0) + 1
        self.length = len(text)
        blend = (self.nothing if known is None else known).copy()
        for order in range(self.shortest, min(self.longest, len(text)) + 1):
            followers = self.counts.get(text[len(text) - order :])
            if not followers:
                break
            rest = self.trust * len(followers)
            total = sum(followers.values()) + rest
            blend *= rest / total
            for byte, count in followers.items():
                blend[byte] += count / total
        blend /= blend.sum()
        return blend if known is None else (1 - EVEN_SHARE) * blend + EVEN_SHARE * self.nothing / self.nothing.sum()


def patcher_fallback(checkpoint: Path, text: bytes) -> Fallback:
    """The patcher of a checkpoint with a lexicon, run over the whole text at once (it is causal), and counts over it."""
    with torch.no_grad():
        known = symbols(patcher_logits(stored_patcher(checkpoint), text))
    counts = CountModel(3, 6, 3)
    return lambda prefix: counts(prefix, known[len(prefix)])


def patcher_logits(patcher: Patcher, text: bytes) -> Tensor:
    """Next-id logits after each beginning of a text, [n + 1, 260]."""
    return logits_of(patcher, torch.tensor([[BOS, *(byte + BYTE_OFFSET for byte in text)]]))[0]


def symbols(logits: Tensor) -> np.ndarray:
    """Logits [n, 260] -> probabilities of bytes and EOS [n, 257]; ids that are no text are left out."""
    possible = torch.cat([logits[:, BYTE_OFFSET:], logits[:, EOS : EOS + 1]], 1)
    return possible.double().softmax(-1).numpy()
