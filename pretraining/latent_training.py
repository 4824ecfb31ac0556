"""A lexicon model's latent for training in batches: gains folded, stream rotated, weights rounded to 4 bits as they will be.

Rotated: a stack of pre-norm layers without gains computes the same in any orthonormal basis of its stream. In a random
basis no channel stands out, so that one scale a row of activations is enough for 8 bits and weights round better
(SliceGPT, arXiv 2401.15024; QuaRot, arXiv 2404.00456). The gain of the last norm becomes the matrix `readout`.

Shapes: B rows of T pieces, D width, F inner width, H heads, G key/value heads, E width of a head, L layers, V pieces.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from int8_rows import int8_rows
from latent_reference import LatentConfig, LatentTransformer, rotate

BLOCK = 32
LAYER_PREFIX = "model.global_transformer.layers."
# The matrices that are trained as one, by a checkpoint's names.
JOINED = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "o": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}


@dataclass
class LatentWeights:
    """What is trained: `matrices` [L, outputs, inputs] by name, and the `readout` [D, D]; the `embedding` [V, D] stays."""

    config: LatentConfig
    matrices: dict[str, Tensor]
    readout: Tensor
    embedding: Tensor

    def to(self, device: str) -> "LatentWeights":
        matrices = {name: matrix.to(device) for name, matrix in self.matrices.items()}
        return LatentWeights(self.config, matrices, self.readout.to(device), self.embedding.to(device))


def rotation_of(width: int, seed: int = 1) -> Tensor:
    """A random orthonormal basis [D, D]."""
    square = numpy.random.default_rng(seed).standard_normal((width, width))
    q, r = numpy.linalg.qr(square)
    return torch.from_numpy(q * numpy.sign(numpy.diag(r))).float()


def begin_from(base: LatentTransformer) -> LatentWeights:
    """What a checkpoint's latent begins its training with: a base's in a turned basis, one that was trained before as it is."""
    return turned(base, rotation_of(base.config.hidden_size)) if base.readout is None else stored(base)


def turned(base: LatentTransformer, rotation: Tensor) -> LatentWeights:
    """The base's function, exactly but for the embedding's rounding to int8 rows."""
    turn = rotation.double()

    def read(layer: dict[str, Tensor], norm: str, *names: str) -> Tensor:
        matrix = torch.cat([layer[f"{name}.weight"] for name in names]).double()
        return (matrix * layer[f"{norm}.weight"].double() @ turn).float()

    def write(layer: dict[str, Tensor], name: str) -> Tensor:
        return (turn.T @ layer[f"{name}.weight"].double()).float()

    matrices = {
        "qkv": torch.stack([read(layer, "input_layernorm", *JOINED["qkv"]) for layer in base.layers]),
        "o": torch.stack([write(layer, *JOINED["o"]) for layer in base.layers]),
        "gate_up": torch.stack([read(layer, "post_attention_layernorm", *JOINED["gate_up"]) for layer in base.layers]),
        "down": torch.stack([write(layer, *JOINED["down"]) for layer in base.layers]),
    }
    rows, scale = int8_rows((base.embedding.double() @ turn).float().numpy())
    embedding = torch.from_numpy(rows).float() * torch.from_numpy(scale)[:, None]
    readout = (turn.T * base.norm.double() @ turn).float()
    return LatentWeights(base.config, matrices, readout, embedding)


def stored(latent: LatentTransformer) -> LatentWeights:
    """Weights that were trained so already (`checkpoint_tensors`): rounded ones, which rounding leaves as they are."""
    layers = latent.layers
    matrices = {
        name: torch.stack([torch.cat([layer[f"{part}.weight"] for part in parts]) for layer in layers])
        for name, parts in JOINED.items()
    }
    return LatentWeights(latent.config, matrices, latent.readout.T.contiguous(), latent.embedding)


def rounded(matrix: Tensor) -> Tensor:
    """The matrix as 4-bit blocks hold it: `scale * (q - 8)`, a scale for 32 inputs each (see `blocks_of`)."""
    q, scale = blocks_of(matrix)
    return ((q - 8) * scale).flatten(-2)


def blocks_of(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """[..., K] -> numbers 0..15 [..., K / 32, 32] and scales [..., K / 32, 1] that fp16 holds.

    As GGUF's Q4_0: the greatest of a block is -8 times the scale, whatever its sign.
    """
    blocks = matrix.unflatten(-1, (-1, BLOCK))
    greatest = blocks.gather(-1, blocks.abs().argmax(-1, keepdim=True))
    scale = (greatest / -8).half().float()
    return (blocks / torch.where(scale == 0, 1, scale)).round().add(8).clamp(0, 15), scale


def packed(q: Tensor) -> Tensor:
    """Numbers 0..15 [..., 32] -> two a byte, the first in the low half, U8 [..., 16]."""
    q = q.to(torch.uint8)
    return q[..., 0::2] | q[..., 1::2] << 4


def eight_bits(x: Tensor) -> Tensor:
    """Activations as one scale a row and 8 bits hold them; the gradient passes."""
    scale = x.detach().float().abs().amax(-1, keepdim=True).clamp_min(1e-8) / 127
    return x + ((x.detach().float() / scale).round() * scale).to(x.dtype) - x.detach()


class FastLatent(nn.Module):
    """The latent in batches. Its weights are given by `load`, already rounded; gradients are those with respect to them."""

    def __init__(self, config: LatentConfig, dtype: torch.dtype = torch.bfloat16, eight_bit: bool = True):
        super().__init__()
        self.config, self.dtype, self.eight_bit = config, dtype, eight_bit
        self.trained_layer = self.layer  # what runs where gradients are taken; may be compiled

    def load(self, weights: LatentWeights, trained: bool = False) -> "FastLatent":
        """Takes rounded weights; with `trained` they are leaves whose `.grad` an optimizer reads."""

        def leaf(tensor: Tensor) -> Tensor:
            return tensor.detach().to(self.dtype, copy=True).requires_grad_(trained)

        self.layers = [
            {name: leaf(matrix[i]) for name, matrix in weights.matrices.items()} for i in range(self.config.layers)
        ]
        self.readout = leaf(weights.readout)
        self.embedding = weights.embedding.to(self.dtype)
        return self

    def hidden(self, ids: Tensor, added: Tensor | None = None, outputs: dict[int, Tensor] | None = None) -> Tensor:
        """Pieces [B, T] (and what is added to their embeddings) -> what the lexicon's rows are multiplied with, [B, T, D].

        outputs: takes the outputs [B, T, D] of the layers that are its keys.
        """
        x = F.embedding(ids, self.embedding)
        if added is not None:
            x = x + added.to(x.dtype)
        cos, sin = self._rotary(ids.shape[1], ids.device)
        run = self.trained_layer if torch.is_grad_enabled() else self.layer
        for number, layer in enumerate(self.layers):
            x = run(x, cos, sin, layer["qkv"], layer["o"], layer["gate_up"], layer["down"])
            if outputs is not None and number in outputs:
                outputs[number] = x
        return F.linear(self._norm(x), self.readout.T)

    def layer(self, x: Tensor, cos: Tensor, sin: Tensor, qkv: Tensor, o: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
        config = self.config
        sizes = [config.heads * config.head_dim, config.kv_heads * config.head_dim, config.kv_heads * config.head_dim]
        q, k, v = (
            part.unflatten(-1, (-1, config.head_dim)).transpose(1, 2)
            for part in F.linear(self._eight(self._norm(x)), qkv).split(sizes, dim=-1)
        )
        q, k = (rotate(part.float(), cos, sin).to(x.dtype) for part in (q, k))
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + F.linear(self._eight(attended.transpose(1, 2).flatten(2)), o)
        gate, up = F.linear(self._eight(self._norm(x)), gate_up).chunk(2, dim=-1)
        return x + F.linear(self._eight(F.silu(gate) * up), down)

    def _eight(self, x: Tensor) -> Tensor:
        return eight_bits(x) if self.eight_bit else x

    def _norm(self, x: Tensor) -> Tensor:
        wide = x.float()
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.config.norm_eps)).to(x.dtype)

    def _rotary(self, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
        size = self.config.head_dim
        rates = self.config.rope_theta ** -(torch.arange(0, size, 2, device=device).double() / size)
        angles = torch.arange(length, device=device).double()[:, None] * rates
        return angles.cos().float(), angles.sin().float()


class PieceLoss(torch.autograd.Function):
    """Sum of -log p of the next pieces; the logits of some positions at a time, so that not all are held at once."""

    @staticmethod
    def forward(context, hidden: Tensor, embedding: Tensor, targets: Tensor, chunk: int) -> Tensor:  # noqa: ANN001
        total = torch.zeros((), device=hidden.device)
        gradient = torch.empty_like(hidden)
        for at in range(0, len(hidden), chunk):
            loss, gradient[at : at + chunk] = loss_and_gradient(
                hidden[at : at + chunk], embedding, targets[at : at + chunk]
            )
            total += loss
        context.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(context, above: Tensor):  # noqa: ANN001, ANN205
        (gradient,) = context.saved_tensors
        return gradient * above.to(gradient.dtype), None, None, None


def loss_and_gradient(hidden: Tensor, embedding: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Nats of the targets, and their gradient by `hidden` [N, D]; a target below 0 counts nothing."""
    log_p = F.log_softmax(F.linear(hidden, embedding).float(), dim=-1)
    counts = (targets >= 0).float()[:, None]
    wanted = targets.clamp_min(0)[:, None]
    loss = -(log_p.gather(-1, wanted) * counts).sum()
    is_wanted = torch.arange(log_p.shape[1], device=log_p.device) == wanted
    slope = (log_p.exp() - is_wanted.float()) * counts
    return loss, slope.to(hidden.dtype) @ embedding


def piece_loss(hidden: Tensor, embedding: Tensor, targets: Tensor, chunk: int = 8192) -> Tensor:
    """hidden [N, D], targets [N] (below 0: not counted) -> sum of nats; the embedding gets no gradient."""
    return PieceLoss.apply(hidden, embedding, targets, chunk)


def rounded_weights(weights: LatentWeights) -> LatentWeights:
    """All matrices of the layers as 4-bit blocks hold them."""
    matrices = {name: rounded(matrix) for name, matrix in weights.matrices.items()}
    return LatentWeights(weights.config, matrices, weights.readout, weights.embedding)


def save_latent(weights: LatentWeights, path: Path) -> None:
    state = {"matrices": weights.matrices, "readout": weights.readout, "embedding": weights.embedding}
    torch.save(state | {"config": vars(weights.config)}, path)


def load_trained_latent(path: Path, device: str = "cpu") -> LatentWeights:
    state = torch.load(path, weights_only=True, map_location=device)
    return LatentWeights(LatentConfig(**state["config"]), state["matrices"], state["readout"], state["embedding"])


def checkpoint_tensors(weights: LatentWeights) -> dict[str, Tensor]:
    """The weights by their names in a checkpoint, each matrix of its own; norms have gains of one."""
    config = weights.config
    heads, kv_heads = config.heads * config.head_dim, config.kv_heads * config.head_dim
    ones = torch.ones(config.hidden_size)
    tensors: dict[str, Tensor] = {
        "model.lexicon.embedding.weight": weights.embedding,
        "model.lexicon.norm.weight": ones,
        "model.lexicon.readout.weight": weights.readout.T.contiguous(),
    }
    for i in range(config.layers):
        q, k, v = weights.matrices["qkv"][i].split([heads, kv_heads, kv_heads])
        gate, up = weights.matrices["gate_up"][i].chunk(2)
        named = {
            "input_layernorm": ones,
            "post_attention_layernorm": ones,
            "self_attn.q_proj": q,
            "self_attn.k_proj": k,
            "self_attn.v_proj": v,
            "self_attn.o_proj": weights.matrices["o"][i],
            "mlp.gate_proj": gate,
            "mlp.up_proj": up,
            "mlp.down_proj": weights.matrices["down"][i],
        }
        tensors |= {f"{LAYER_PREFIX}{i}.{name}.weight": tensor for name, tensor in named.items()}
    return tensors
