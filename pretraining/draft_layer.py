"""One transformer layer that foresees the latent's next states, so that several pieces can be drafted for one latent run.

At a piece it reads the latent's state before the piece (once that is stale: its own) and the piece's embedding, attends to
what it read at earlier pieces, and gives what the latent's state after the piece is going to be, as far as the lexicon's
readout is concerned (EAGLE, Li et al. 2024; trained on its own states as in EAGLE-3, Li et al. 2025). A draft of D pieces takes
D such steps; the latent, 30 layers, then reads all of them in one run. Where the state before the piece is the latent's, it may also
see what some of the latent's layers made there (EAGLE-3): those know more of what comes later than the state, which is about the next piece.
Shapes: B rows, T pieces a row, E latent width, D depths, I inner layers that are seen, V pieces that can be drafted.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from config import StackConfig
from model import Stack, _rotate
from training_run import save_tensors


class DraftLayer(Stack):
    """`config.window`: pieces it can look back; `inner`: I. It begins by passing the state on."""

    def __init__(self, config: StackConfig, inner: int = 0):
        super().__init__(config)
        width, eps = config.hidden_size, config.norm_eps
        self.state_norm, self.piece_norm, self.norm = (nn.RMSNorm(width, eps=eps) for _ in range(3))
        self.input_proj = nn.Linear(2 * width, width, bias=False)
        with torch.no_grad():
            self.input_proj.weight[:, :width] = torch.eye(width)
            nn.init.normal_(self.input_proj.weight[:, width:], std=0.3 * width**-0.5)
        self.inner_norms = nn.ModuleList([nn.RMSNorm(width, eps=eps) for _ in range(inner)])
        if inner > 0:
            self.inner_proj = nn.Linear(inner * width, width, bias=False)
            nn.init.zeros_(self.inner_proj.weight)
        for layer in self.layers:
            nn.init.zeros_(layer.self_attn.o_proj.weight)
            nn.init.zeros_(layer.mlp.down_proj.weight)

    def forward(self, states: Tensor, pieces: Tensor, depths: int, inner: Tensor | None = None) -> list[Tensor]:
        """What is foreseen of the state after each piece, by how old the newest state of the latent is.

        states [B, T, E]: the latent's before each piece; pieces [B, T, E]: their embeddings; inner [B, T, I, E]: what the inner
        layers made before each piece. Result d, [B, T, E], is of a latent whose newest state is that before the piece d places
        earlier; its first d rows mean nothing.
        """
        (layer,) = self.layers
        rows, length, width = states.shape
        cos, sin = self.rotary(length, states.device)
        pieces, keys, values, foreseen = self.piece_norm(pieces.float()), [], [], []
        for depth in range(depths):
            seen = self.state_norm(states.float())
            if inner is not None and depth == 0:
                seen = seen + self.seen_inside(inner)
            x = self.input_proj(torch.cat([seen, pieces], dim=-1))
            attn, normed = layer.self_attn, layer.input_layernorm(x)
            query = _rotate(attn.q_proj(normed).view(rows, length, attn.heads, attn.head_dim), cos, sin)
            key, value = attn.keys_values(normed)
            keys.append(_rotate(key, cos, sin).to(value.dtype).transpose(1, 2))
            values.append(value.transpose(1, 2))
            visible = visible_keys(length, depth, self.config.window, states.device)
            mixed = F.scaled_dot_product_attention(
                query.to(value.dtype).transpose(1, 2), torch.cat(keys, dim=2), torch.cat(values, dim=2), attn_mask=visible
            )
            x = x + attn.o_proj(mixed.transpose(1, 2).reshape(rows, length, width))
            x = x + layer.mlp(layer.post_attention_layernorm(x))
            foreseen.append(self.norm(x.float()))
            states = F.pad(foreseen[-1], (0, 0, 1, -1))
        return foreseen

    def seen_inside(self, inner: Tensor) -> Tensor:
        """[..., I, E] -> what it adds to a state of the latent, [..., E]."""
        normed = [norm(part.float()) for norm, part in zip(self.inner_norms, inner.unbind(-2), strict=True)]
        return self.inner_proj(torch.cat(normed, dim=-1))


def visible_keys(length: int, depth: int, window: int | None, device: torch.device | None = None) -> Tensor:
    """[T, (depth + 1) * T]: a piece at a depth sees the keys of latent states up to the newest, then one of each depth."""
    at = torch.arange(length, device=device)
    back = at[:, None] - at[None, :]
    near = back < (length if window is None else window)
    parts = [(back >= depth) & near] + [back == depth - d for d in range(1, depth + 1)]
    return torch.cat(parts, dim=1)


def save_module(module: nn.Module, path: Path, more: dict[str, Tensor] | None = None) -> None:
    """Weights as fp16, whole or not at all, and `more` tensors as they are."""
    tensors = {name: tensor.detach().half().contiguous().cpu() for name, tensor in module.state_dict().items()}
    save_tensors(tensors | (more or {}), path)


def load_draft_layer(layer: DraftLayer, path: Path) -> Tensor:
    """The layer's weights; returns the pieces that it drafts, [V], the most frequent ones first."""
    tensors = load_file(path)
    pieces = tensors.pop("pieces")
    layer.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return pieces
