"""The local decoder of a lexicon model: bytes after a latent that has gone stale.

Its input is the patcher's state after n bytes and the newest latent state, which is some pieces old. As in a BLT's
decoder each layer looks at the latent's K vectors by cross-attention; bytes are mixed by the patcher alone, so that the
distribution after n bytes depends on those bytes and on one latent, whatever was read before.
Shapes: N places, D width, E latent width, K vectors of a latent, V = 260.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from config import StackConfig
from model import Patcher, _CrossAttention, _FeedForward, documents_of

# Bytes since the latent's last piece that are told apart.
OFFSETS = 48


class Decoder(nn.Module):
    """Begins as the patcher: what looks at the latent adds nothing until it has learned to."""

    def __init__(self, config: StackConfig, latent_width: int, vectors: int = 4, dropout: float = 0.0, vocab: int = 260):
        super().__init__()
        width = config.hidden_size
        self.config, self.k = config, vectors
        self.latent_norm = nn.RMSNorm(latent_width, eps=config.norm_eps)
        self.latent_projection = nn.Linear(latent_width, vectors * width, bias=False)
        self.offset = nn.Embedding(OFFSETS, width)
        self.layers = nn.ModuleList([_DecoderLayer(config) for _ in range(config.layers)])
        self.norm = nn.RMSNorm(width, eps=config.norm_eps)
        self.lm_head = nn.Linear(width, vocab, bias=False)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.offset.weight)
        nn.init.normal_(self.latent_projection.weight, std=latent_width**-0.5)

    def begin_from(self, patcher: Patcher) -> None:
        self.norm.load_state_dict(patcher.norm.state_dict())
        self.lm_head.load_state_dict(patcher.lm_head.state_dict())

    def forward(self, y: Tensor, z: Tensor, offset: Tensor) -> Tensor:
        """Patcher states y [N, D], latents z [N, E], bytes since each latent [N] -> logits [N, V] of the next id."""
        vectors = self.dropout(self.latent_projection(self.latent_norm(z))).view(1, len(z), self.k, -1)
        own = torch.arange(len(z), device=z.device)[None]
        x = (y + self.offset(offset.clamp(max=OFFSETS - 1)))[None]
        for layer in self.layers:
            x = layer(x, vectors, own)
        return self.lm_head(self.norm(x))[0]


class _DecoderLayer(nn.Module):
    def __init__(self, config: StackConfig):
        super().__init__()
        self.cross_attn, self.mlp = _CrossAttention(config), _FeedForward(config)
        self.mlp_norm = nn.RMSNorm(config.hidden_size, eps=config.norm_eps)
        nn.init.zeros_(self.cross_attn.o_proj.weight)
        nn.init.zeros_(self.mlp.down_proj.weight)

    def forward(self, x: Tensor, vectors: Tensor, own: Tensor) -> Tensor:
        x = x + self.cross_attn.bytes_from_patch(x, vectors, own)
        return x + self.mlp(self.mlp_norm(x))


def patcher_states(patcher: Patcher, ids: Tensor) -> Tensor:
    """ids [B, T] -> the patcher's states before its last norm, [B, T, D]."""
    return patcher.run(patcher.embed_tokens(ids), patcher.config.window, documents_of(ids))


def stored_decoder(path: Path, patcher: StackConfig) -> Decoder:
    """The decoder of a file, over a patcher of this shape, as fp32."""
    tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
    outputs, latent_width = tensors["latent_projection.weight"].shape
    layers = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("layers."))
    inner = len(tensors["layers.0.mlp.gate_proj.weight"])
    width = patcher.hidden_size
    if len(tensors["norm.weight"]) != width:
        raise ValueError(f"{path}: a decoder of width {len(tensors['norm.weight'])}, the patcher has {width}")
    decoder = Decoder(decoder_shape(patcher, layers, inner), latent_width, outputs // width)
    decoder.load_state_dict(tensors)
    return decoder.eval()


def decoder_shape(patcher: StackConfig, layers: int, inner: int | None = None) -> StackConfig:
    return StackConfig(patcher.hidden_size, layers, patcher.heads, patcher.heads, inner or patcher.intermediate_size)
