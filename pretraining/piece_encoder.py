"""A BLT's local encoder as a residual on a lexicon's piece embeddings: what a piece's bytes and those before it add to it.

Bytes get hash n-gram embeddings and one windowed layer, and the bytes of a piece are pooled by cross-attention, as in a plain
BLT (blt-spec section 5); a piece stands for a patch. Shapes: B rows, T pieces a row, L ids a row, E the latent's width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byte_places import PieceBytes, spelt
from config import BltConfig
from model import Patcher, _embedding, _Encoder, documents_of


class PieceEncoder(nn.Module):
    """Begins as the patcher's first layer, adding nothing."""

    def __init__(self, config: BltConfig):
        super().__init__()
        width = config.encoder.hidden_size
        self.config = config
        self.hash_embedding = _embedding(len(config.hash_group_sizes) * config.hash_functions * config.hash_vocab, width)
        self.encoder = _Encoder(config)
        self.out_proj = nn.Linear(config.cross_attn_k * width, config.latent.hidden_size, bias=False)
        nn.init.zeros_(self.hash_embedding.weight)
        nn.init.zeros_(self.out_proj.weight)

    def begin_from(self, patcher: Patcher) -> None:
        self.encoder.embed_tokens.load_state_dict(patcher.embed_tokens.state_dict())
        self.encoder.layers[0].load_state_dict(patcher.layers[0].state_dict())

    def forward(self, ids: Tensor, own: Tensor, pieces: int) -> Tensor:
        """ids [B, L], the piece each is part of [B, L] -> what is added to each piece's embedding, [B, T, E]."""
        encoder, config = self.encoder, self.config
        x = encoder.bytes(ids, self.hash_embedding.weight, config)
        x = encoder.run(x, config.encoder.window, documents_of(ids))
        vectors = encoder.pool(x, own, pieces)
        return self.out_proj(F.rms_norm(vectors.float(), vectors.shape[-1:]))


def bytes_of_rows(rows: Tensor, table: PieceBytes, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """rows [B, T] -> ids [B, L] of their bytes (EOS behind the row's end, counted to its last piece, which foretells nothing),
    the piece of each, and which pieces lie whole within L, [B, T]."""
    ids, own, ends = spelt(rows, table, length)
    return ids, own, ends <= length
