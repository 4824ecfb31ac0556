"""A plain BLT around a lexicon model's latent transformer: one vector a patch, no lexicon, the Hugging Face layout.

Where it begins: the latent's layers are the base's; encoder and decoder are the entropy patcher cut in two (its first
layer encodes, the others decode), so that before any training the bytes come out as the patcher has them, and what
the decoder sees of the latent adds nothing. Shapes as in model.py.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from config import BltConfig, StackConfig
from latent_reference import LatentTransformer
from latent_training import LAYER_PREFIX, LatentWeights
from model import Blt, Patcher

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


def base_of(weights: LatentWeights) -> LatentTransformer:
    """A latent trained further, under the names a checkpoint has them; its readout is left out, its gains are ones."""
    config, matrices = weights.config, weights.matrices
    width, keys = config.heads * config.head_dim, config.kv_heads * config.head_dim
    tensors = {"model.lexicon.embedding.weight": weights.embedding, "model.lexicon.norm.weight": torch.ones(config.hidden_size)}
    for i in range(config.layers):
        parts = dict(zip(("q", "k", "v"), matrices["qkv"][i].split([width, keys, keys]), strict=True)) | {"o": matrices["o"][i]}
        gate, up = matrices["gate_up"][i].chunk(2)
        named = {f"self_attn.{name}_proj": part for name, part in parts.items()}
        named |= {"mlp.gate_proj": gate, "mlp.up_proj": up, "mlp.down_proj": matrices["down"][i]}
        named |= dict.fromkeys(("input_layernorm", "post_attention_layernorm"), torch.ones(config.hidden_size))
        tensors |= {f"{LAYER_PREFIX}{i}.{name}.weight": tensor for name, tensor in named.items()}
    return LatentTransformer(config, tensors)


def grow(latent: LatentTransformer, patcher: Patcher, threshold: float, hash_vocab: int = 4096) -> Blt:
    """The model before training."""
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
    return model


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


def wanted_vectors(embedding: Tensor, pieces: Tensor, own: Tensor, patches: int) -> tuple[Tensor, Tensor]:
    """What the base would be shown for each patch: the (scaled) embedding of the piece its last id belongs to.

    embedding [V, D'], pieces [B, T] of ids (PieceStream.pieces), own [B, T] patch of each -> [B, P, D'], and which
    of the P patches are there [B, P]. Where a patch ends inside a piece, that is more than can be known: the mean is learnt.
    """
    position = torch.arange(own.shape[1], device=own.device).expand_as(own)
    last = torch.zeros(own.shape[0], patches, dtype=torch.long, device=own.device)
    last = last.scatter_reduce(1, own, position, "amax", include_self=False)
    exists = torch.arange(patches, device=own.device) <= own[:, -1:]
    return STREAM_SCALE * F.embedding(pieces.gather(1, last), embedding), exists
