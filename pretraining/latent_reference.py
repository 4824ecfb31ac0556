"""The latent transformer over pieces in PyTorch fp32: caches, tree-shaped runs, and its weights read from a checkpoint.

Shapes: T positions of a run, P cached positions, D width, H heads, G key/value heads, E width of a head, L layers,
V pieces of the lexicon, N outputs, K inputs, B = K / 32 blocks.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor


@dataclass
class LatentConfig:
    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    norm_eps: float
    rope_theta: float
    max_positions: int


class LatentCache:
    """Keys and values of the first `length` positions; `truncate` is `length = n`."""

    def __init__(self, config: LatentConfig, capacity: int = 256):
        self.length = 0
        self.keys = torch.zeros(config.layers, config.kv_heads, capacity, config.head_dim)
        self.values = torch.zeros_like(self.keys)

    def reserve(self, capacity: int) -> None:
        if capacity > self.keys.shape[2]:
            room = max(capacity, 2 * self.keys.shape[2]) - self.keys.shape[2]
            self.keys = F.pad(self.keys, (0, 0, 0, room))
            self.values = F.pad(self.values, (0, 0, 0, room))


class LatentTransformer:
    """SmolLM2's layers in the BLT layout: RMSNorm, interleaved rotary embedding, grouped queries, SwiGLU."""

    def __init__(self, config: LatentConfig, tensors: dict[str, Tensor]):
        self.config = config
        self.embedding = tensors["model.lexicon.embedding.weight"]  # [V, D], also the readout
        self.norm = tensors["model.lexicon.norm.weight"]
        self.readout = tensors.get("model.lexicon.readout.weight")  # [D, D], or nothing
        prefix = "model.global_transformer.layers."
        self.layers = [
            {name.removeprefix(f"{prefix}{i}."): t for name, t in tensors.items() if name.startswith(f"{prefix}{i}.")}
            for i in range(config.layers)
        ]

    def append(self, pieces: list[int], cache: LatentCache, outputs: dict[int, Tensor] | None = None) -> Tensor:
        """Run `pieces` after the cached ones and keep them; returns their states [T, D] as the readout takes them.

        outputs: takes the outputs [T, D] of the layers that are its keys.
        """
        start = cache.length
        position = torch.arange(start, start + len(pieces))
        visible = torch.arange(start + len(pieces))[None] <= position[:, None]
        states, keys, values = self.run(pieces, position, visible, cache, outputs)
        cache.reserve(start + len(pieces))
        cache.keys[:, :, start : start + len(pieces)] = keys
        cache.values[:, :, start : start + len(pieces)] = values
        cache.length += len(pieces)
        return states

    def run(
        self,
        pieces: list[int],
        position: Tensor,
        visible: Tensor,
        cache: LatentCache,
        outputs: dict[int, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """States [T, D], keys and values [L, G, T, E] of any set of positions; the cache is only read.

        `position` [T] turns the rotary embedding; `visible` [T, P' + T] says which of the first P' cached positions
        and of the run's own each one attends to (P' = visible's width - T, at most P): a chain or a tree.
        """
        config = self.config
        if int(position.max()) >= config.max_positions:
            raise ValueError(f"position {int(position.max())} is beyond the latent's {config.max_positions} positions")
        cached = visible.shape[1] - len(pieces)
        bias = torch.where(visible, 0.0, -torch.inf)
        cos, sin = self._rotary(position)
        x = self.embedding[torch.tensor(pieces)]
        all_keys, all_values = [], []
        for i, layer in enumerate(self.layers):
            h = self._rms(x, layer["input_layernorm.weight"])
            q = rotate(self._heads(h @ layer["self_attn.q_proj.weight"].T), cos, sin)
            k = rotate(self._heads(h @ layer["self_attn.k_proj.weight"].T), cos, sin)
            v = self._heads(h @ layer["self_attn.v_proj.weight"].T)
            all_keys.append(k)
            all_values.append(v)
            k = torch.cat([cache.keys[i, :, :cached], k], dim=1)
            v = torch.cat([cache.values[i, :, :cached], v], dim=1)
            group = config.heads // config.kv_heads
            attended = F.scaled_dot_product_attention(
                q, k.repeat_interleave(group, 0), v.repeat_interleave(group, 0), attn_mask=bias
            )
            x = x + attended.transpose(0, 1).flatten(1) @ layer["self_attn.o_proj.weight"].T
            h = self._rms(x, layer["post_attention_layernorm.weight"])
            gated = F.silu(h @ layer["mlp.gate_proj.weight"].T) * (h @ layer["mlp.up_proj.weight"].T)
            x = x + gated @ layer["mlp.down_proj.weight"].T
            if outputs is not None and i in outputs:
                outputs[i] = x
        x = self._rms(x, self.norm)
        return x if self.readout is None else x @ self.readout.T, torch.stack(all_keys), torch.stack(all_values)

    def logits(self, states: Tensor) -> Tensor:
        """[T, D] -> [T, V]: the tied embedding read as output rows."""
        return states @ self.embedding.T

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.config.head_dim)).transpose(0, 1)

    def _rms(self, x: Tensor, weight: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.config.norm_eps) * weight

    def _rotary(self, position: Tensor) -> tuple[Tensor, Tensor]:
        size = self.config.head_dim
        rates = self.config.rope_theta ** -(torch.arange(0, size, 2) / size)
        angles = position[:, None].float() * rates
        return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of neighbouring pairs (2 i, 2 i + 1); x [heads, T, E], cos and sin [T, E / 2]."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


def load_latent(folder: Path) -> LatentTransformer:
    """The latent transformer and lexicon table of a checkpoint, dequantised to fp32."""
    whole = json.loads((folder / "config.json").read_text())
    raw, pieces = whole["global_config"], whole["lexicon_config"]["vocab_size"]
    config = LatentConfig(
        hidden_size=raw["hidden_size"],
        layers=raw["num_hidden_layers"],
        heads=raw["num_attention_heads"],
        kv_heads=raw["num_key_value_heads"],
        head_dim=raw["head_dim"],
        norm_eps=raw["rms_norm_eps"],
        rope_theta=raw["rope_parameters"]["rope_theta"],
        max_positions=raw["max_position_embeddings"],
    )
    tensors: dict[str, Tensor] = {}
    for file in sorted(folder.glob("model*.safetensors")):
        tensors |= load_file(file)
    weights = {name: dequantise(name, tensors) for name in tensors if name.endswith(".weight")}
    rows = len(weights["model.lexicon.embedding.weight"])
    if rows != pieces:
        raise ValueError(f"{folder}: the embedding table has {rows} rows, the lexicon {pieces} pieces; they are not of one model")
    return LatentTransformer(config, weights)


def dequantise(name: str, tensors: dict[str, Tensor]) -> Tensor:
    """One weight as fp32, whichever of the stored forms it has (docs/checkpoint-format.md)."""
    weight = tensors[name]
    if weight.dtype == torch.uint8:
        quants = torch.stack([weight & 15, weight >> 4], dim=-1).flatten(2)  # [N, B, 32]
        scale = tensors[f"{name}_scale"].float()
        minimum = tensors[f"{name}_min"].float() if f"{name}_min" in tensors else -8 * scale
        return (quants * scale[..., None] + minimum[..., None]).flatten(1)
    if weight.dtype == torch.int8:
        return weight.float() * tensors[f"{name}_scale"][:, None]
    return weight.float()
