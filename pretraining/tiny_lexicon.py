"""A tiny random latent transformer and lexicon, for tests and for the golden files of the TypeScript runtime."""

import random
from collections.abc import Sequence

import numpy as np
import torch

from latent_reference import LatentConfig, LatentTransformer
from readout import SYMBOLS
from pieces import Lexicon, scan

WORDS = ["return", " return", "const", " con", "value", " =", "==", "\n    ", "\n\n", "  ", "()", "é", " naïve", "let's"]
TEXTS = [
    b"const value = con(x);\n    return value\n\n\nlet's 42 == 7",
    "  caf\u00e9 \u4f60\u597d na\u00efve's\n\t\tx  5".encode(),
    b"'re've \xff\xe4\xbd a\x04b  \n \n'r'\xe9",
    b"",
    b"=" * 21 + b" " * 19 + b"return",
]


def tiny_lexicon(seed: int = 0) -> Lexicon:
    """Piece 0 and 1 are special (0: BOS and EOS), then single bytes (not all 256), then merges learned from WORDS."""
    corpus = [word for text in [*map(str.encode, WORDS * 3), *TEXTS] for word in _words(text)]
    alphabet = sorted({byte for word in corpus for byte in word} - {0xFF, 0x04} | set(b"abrst ="))
    pieces = [b"", b"", *(bytes([byte]) for byte in alphabet)]
    sequences = [[pieces.index(bytes([byte])) for byte in word if byte in alphabet] for word in corpus]
    merges = []
    generator = random.Random(seed)
    for _ in range(60):
        pairs = [pair for sequence in sequences for pair in zip(sequence, sequence[1:])]
        left, right = generator.choice(sorted(set(pairs), key=lambda pair: (-pairs.count(pair), pair))[:6])
        whole = len(pieces)
        pieces.append(pieces[left] + pieces[right])
        if pieces.index(pieces[-1]) != whole:
            pieces.pop()
            break
        merges.append((left, right, whole))
        sequences = [_merged(sequence, left, right, whole) for sequence in sequences]
    return Lexicon(pieces, merges, {0, 1}, bos=0, eos=0)


def _words(text: bytes) -> list[bytes]:
    return [text[start:end] for start, end in scan(text)[0]]


def _merged(sequence: list[int], left: int, right: int, whole: int) -> list[int]:
    merged: list[int] = []
    for piece in sequence:
        if merged and (merged[-1], piece) == (left, right):
            merged[-1] = whole
        else:
            merged.append(piece)
    return merged


def tiny_latent(lexicon: Lexicon, seed: int = 0) -> LatentTransformer:
    config = LatentConfig(
        hidden_size=32, layers=2, heads=4, kv_heads=2, head_dim=8, norm_eps=1e-5, rope_theta=1e4, max_positions=512
    )
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, scale: float = 1.0) -> torch.Tensor:
        return scale * torch.randn(*shape, generator=generator) / shape[-1] ** 0.5

    tensors = {"model.lexicon.embedding.weight": normal(len(lexicon.pieces), 32, scale=3), "model.lexicon.norm.weight": torch.ones(32)}
    for i in range(config.layers):
        shapes = {"q_proj": (32, 32), "k_proj": (16, 32), "v_proj": (16, 32), "o_proj": (32, 32)}
        layer = {f"self_attn.{name}": normal(*shape) for name, shape in shapes.items()}
        layer |= {"mlp.gate_proj": normal(48, 32), "mlp.up_proj": normal(48, 32), "mlp.down_proj": normal(32, 48)}
        layer |= {name: 1 + 0.1 * torch.randn(32, generator=generator) for name in ("input_layernorm", "post_attention_layernorm")}
        tensors |= {f"model.global_transformer.layers.{i}.{name}.weight": tensor for name, tensor in layer.items()}
    return LatentTransformer(config, tensors)


def tiny_fallback(text: bytes | Sequence[int]) -> np.ndarray:
    """A byte model in one line: weight 1 + (31 last + 7 symbol + length) mod 13 of each of 257 symbols."""
    last = text[-1] if len(text) else 0
    weights = 1.0 + (31 * last + 7 * np.arange(SYMBOLS) + len(text)) % 13
    return weights / weights.sum()
