"""A plain BLT around a lexicon model's latent transformer: one vector a patch, no lexicon, the Hugging Face layout.

Where it begins: the latent's layers are the base's; encoder and decoder are the entropy patcher cut in two (its first
layer encodes, the others decode), so that before any training the bytes come out as the patcher has them, and what
the decoder sees of the latent adds nothing. Shapes as in model.py.
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from add_patcher import stored_patcher
from config import BltConfig, StackConfig
from latent_reference import LatentTransformer, load_latent
from model import BOS, Blt, Patcher
from pieces import Lexicon
from text_stream import BYTE_OFFSET

# Byte states are some hundred times as large as the base's embeddings. A stack of pre-norm layers does the same at any
# scale of its stream if what the layers add has that scale too: so the stream is scaled, and the encoder need not be.
STREAM_SCALE = 512.0


def grown_config(latent: LatentTransformer, patcher: StackConfig, threshold: float, hash_vocab: int) -> BltConfig:
    """Encoder and decoder are as wide as the patcher and see as far."""
    width, inner = patcher.hidden_size, latent.layers[0]["mlp.gate_proj.weight"].shape[0]
    shape = latent.config
    if shape.hidden_size % width:
        raise ValueError(f"the latent's width {shape.hidden_size} is no multiple of the patcher's {width}")

    def local(layers: int) -> StackConfig:
        return replace(patcher, layers=layers)

    return BltConfig(
        patcher=patcher,
        encoder=local(1),
        latent=StackConfig(
            shape.hidden_size,
            shape.layers,
            shape.heads,
            shape.kv_heads,
            inner,
            shape.rope_theta,
            shape.norm_eps,
            max_positions=shape.max_positions,
        ),
        decoder=local(patcher.layers - 1),
        cross_attn_k=shape.hidden_size // width,
        hash_vocab=hash_vocab,
        threshold=threshold,
    )


def grow(checkpoint: Path, threshold: float, hash_vocab: int = 4096) -> tuple[Blt, LatentTransformer]:
    """The model before training, and the base's latent (for its embedding table)."""
    latent, patcher = load_latent(checkpoint), stored_patcher(checkpoint)
    model = Blt(grown_config(latent, patcher.config, threshold, hash_vocab))
    networks = model.model
    networks.patcher.load_state_dict(patcher.state_dict())
    for layer, tensors in zip(networks.global_transformer.layers, latent.layers, strict=True):
        layer.load_state_dict(tensors)
        with torch.no_grad():
            for matrix in (layer.self_attn.o_proj, layer.mlp.down_proj):
                matrix.weight.mul_(STREAM_SCALE)
    begin_as_patcher(model, patcher)
    # The latent goes into the decoder through the base's own last norm, as far as a matrix can hold it.
    with torch.no_grad():
        networks.local_decoder.patch_embedding_projection.weight.mul_(latent.norm)
    return model, latent


@torch.no_grad()
def begin_as_patcher(model: Blt, patcher: Patcher) -> None:
    """Logits are the patcher's from here on, whatever the latent says."""
    encoder, decoder = model.model.local_encoder, model.model.local_decoder
    nn.init.zeros_(model.model.encoder_hash_tok_embedding.weight)
    encoder.embed_tokens.load_state_dict(patcher.embed_tokens.state_dict())
    encoder.layers[0].load_state_dict(patcher.layers[0].state_dict())
    for index, layer in enumerate(decoder.layers):
        layer.load_state_dict(patcher.layers[index + 1].state_dict())
        # A cross-attention doubles what goes through it (y = 2 y + cross); what a layer adds has to keep pace.
        for matrix in (layer.self_attn.o_proj, layer.mlp.down_proj):
            matrix.weight.mul_(2 ** (index + 1))
        nn.init.zeros_(decoder.cross_attn_layers[index].o_proj.weight)
    decoder.norm.load_state_dict(patcher.norm.state_dict())
    model.lm_head.load_state_dict(patcher.lm_head.state_dict())


def wanted_vectors(latent: LatentTransformer, lexicon: Lexicon, ids: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """What the base would be shown for each patch: the (scaled) embedding of the last piece of the patch's own cut.

    ids [B, T], starts [B, T + 1] -> embeddings [N, D'] and the patch [N, 2] (row, number) of each. A space at a patch's end
    counts to the next patch, since the base's pieces have it in front. Patches of white space and BOS alone are among them.
    """
    chosen: list[int] = []
    places: list[tuple[int, int]] = []
    for row in range(ids.shape[0]):
        symbols = ids[row].tolist()
        firsts = starts[row, :-1].nonzero()[:, 0].tolist()
        for number, (first, end) in enumerate(zip(firsts, [*firsts[1:], len(symbols)], strict=True)):
            piece = _last_piece(lexicon, symbols, first, end)
            if piece is not None:
                chosen.append(piece)
                places.append((row, number))
    return STREAM_SCALE * latent.embedding[torch.tensor(chosen)], torch.tensor(places)


def _last_piece(lexicon: Lexicon, symbols: list[int], first: int, end: int) -> int | None:
    if symbols[end - 1] == BOS:
        return lexicon.bos
    if any(symbol < BYTE_OFFSET for symbol in symbols[first:end]):
        return lexicon.eos
    space = BYTE_OFFSET + ord(" ")
    begin = first - 1 if first > 0 and symbols[first - 1] == space and symbols[first] != space else first
    stop = end - 1 if symbols[end - 1] == space and end - 1 > begin else end
    cut = lexicon.cut(bytes(symbol - BYTE_OFFSET for symbol in symbols[begin:stop]))
    return cut[-1][0] if cut else None


class LowRankLinear(nn.Module):
    """x W' + x A' B' with W frozen; begins as W."""

    def __init__(self, base: nn.Linear, rank: int, gain: float = 1.0):
        """`gain`: scale of what is added, where the outputs have one."""
        super().__init__()
        self.base, self.gain = base.requires_grad_(False), gain
        self.down = nn.Parameter(torch.randn(rank, base.in_features) * base.in_features**-0.5)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.gain * ((x @ self.down.T) @ self.up.T)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        self.base.weight.add_(self.gain * (self.up @ self.down))
        return self.base


def adapt(stack: nn.Module, rank: int) -> None:
    """Every matrix of the layers gets a low-rank addition; norms stay free, the rest is frozen."""
    for layer in stack.layers:
        for part in (layer.self_attn, layer.mlp):
            for name, linear in list(part.named_children()):
                if isinstance(linear, nn.Linear):
                    gain = STREAM_SCALE if name in ("o_proj", "down_proj") else 1.0
                    setattr(part, name, LowRankLinear(linear, rank, gain))


def merge(stack: nn.Module) -> None:
    """Low-rank additions become part of the matrices; the stack is a plain one again."""
    for layer in stack.layers:
        for part in (layer.self_attn, layer.mlp):
            for name, linear in list(part.named_children()):
                if isinstance(linear, LowRankLinear):
                    setattr(part, name, linear.merged())
