"""A BLT in PyTorch for training, with the tensor names of transformers' BltForCausalLM.

Shapes: B rows, T ids a row, P patches of the longest row, K = cross_attn_k vectors a patch, D width of the network at
hand, N heads, V = 260. Semantics follow blt-spec sections 3 to 8; byte-level cost is linear in T (windowed attention
in blocks, patches by segment sums), so that it trains on a CPU.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from config import BltConfig, StackConfig

BOS, EOS = 1, 2

# Primes of the rolling hash by function index (blt-spec section 5.1).
HASH_PRIMES = [1000000007, 5915587277, 1500450271, 3267000013, 5754853343, 4093082899, 9576890767, 3628273133]
HASH_PRIMES += [2860486313, 5463458053, 3367900313]


class Blt(nn.Module):
    """The whole model. `state_dict()` has the names and shapes of transformers' BltForCausalLM.

    `windows`: use each network's window; False is transformers' semantics (no windows).
    `documents`: no attention across EOS, as the released models were trained (blt-spec section 19, item 2).
    """

    def __init__(self, config: BltConfig, windows: bool = True, documents: bool = True):
        super().__init__()
        self.config, self.windows, self.documents = config, windows, documents
        self.model = _Networks(config)
        self.lm_head = _linear(config.decoder.hidden_size, config.vocab_size)

    def forward(self, ids: Tensor, starts: Tensor | None = None) -> Tensor:
        """ids [B, T] (and starts [B, T + 1], else from the own patcher) -> logits [B, T, V] of the next id."""
        if starts is None:
            starts = self.patch_starts(ids)
        config, model = self.config, self.model
        document = documents_of(ids) if self.documents else None
        patch = starts.long().cumsum(1) - 1  # [B, T + 1]: the patch of each id and of the unseen next one
        own = patch[:, :-1]
        newest = (patch[:, 1:] - 1).clamp(min=0)  # the newest patch that is closed once id i is known
        patches = int(own.max()) + 1

        x = model.local_encoder.bytes(ids, model.encoder_hash_tok_embedding.weight, config)
        x = model.local_encoder.run(x, self._window(config.encoder), document)
        vectors = model.local_encoder.pool(x, own, patches)  # [B, P, K * D]
        latent_document = _patch_documents(ids, own, patches) if self.documents else None
        z = model.global_transformer(vectors, latent_document)
        y = model.local_decoder(x, z, newest, self._window(config.decoder), document)
        return self.lm_head(y)

    def patcher_logits(self, ids: Tensor) -> Tensor:
        """The entropy model's next-id logits, [B, T, V]."""
        patcher = self._patcher()
        x = patcher.embed_tokens(ids)
        x = patcher.run(x, self._window(patcher.config), documents_of(ids) if self.documents else None)
        return patcher.lm_head(patcher.norm(x))

    def patch_starts(self, ids: Tensor) -> Tensor:
        """[B, T + 1], true where a patch starts; the last column is the unseen next id (blt-spec section 4.2)."""
        if self.config.patching_mode != "entropy":
            return torch.ones(ids.shape[0], ids.shape[1] + 1, dtype=torch.bool, device=ids.device)
        with torch.no_grad():
            return starts_from_entropies(
                entropies(self.patcher_logits(ids)), self.config.threshold, self.config.max_patch_length
            )

    def _patcher(self) -> "Patcher":
        if self.model.patcher is None:
            raise ValueError("this checkpoint has no patcher (patch_in_forward is false): give the patch starts")
        return self.model.patcher

    def _window(self, stack: StackConfig) -> int | None:
        return stack.window if self.windows else None


def entropies(logits: Tensor) -> Tensor:
    """Entropy in nats of each distribution, [..., V] -> [...]."""
    log_p = F.log_softmax(logits.float(), dim=-1)
    return -(log_p.exp() * log_p).sum(-1)


def starts_from_entropies(entropy: Tensor, threshold: float, max_patch_length: int | None = None) -> Tensor:
    """[B, T] nats -> [B, T + 1] starts: 0 and 1 always, j where H[j - 1] > threshold (blt-spec section 4.2)."""
    starts = torch.ones(entropy.shape[0], entropy.shape[1] + 1, dtype=torch.bool, device=entropy.device)
    starts[:, 2:] = entropy[:, 1:] > threshold
    return starts if max_patch_length is None else split_long(starts, max_patch_length)


def split_long(starts: Tensor, max_patch_length: int) -> Tensor:
    """Adds starts so that no patch is longer than `max_patch_length` (blt-spec section 4.3); same shape."""
    position = torch.arange(starts.shape[1], device=starts.device).expand_as(starts)
    last = torch.where(starts, position, 0).cummax(dim=1).values
    return starts | ((position - last) % max_patch_length == 0)


def starts_from_lengths(lengths: Tensor, n: int) -> Tensor:
    """Patch lengths of one row (with or without the next id, as transformers or Meta give them) -> [1, n + 1]."""
    starts = torch.zeros(1, n + 1, dtype=torch.bool)
    firsts = F.pad(lengths.cumsum(0)[:-1], (1, 0))
    starts[0, firsts[firsts <= n]] = True
    return starts


def hash_ids(ids: Tensor, config: BltConfig) -> Tensor:
    """Rows of the fused hash table for each id, [B, T] -> [B, T, tables] (blt-spec section 5.1)."""
    rows, widest, length = [], max(config.hash_group_sizes), ids.shape[1]
    padded = F.pad(ids, (widest - 1, 0))
    for function in range(config.hash_functions):
        prime = HASH_PRIMES[function % len(HASH_PRIMES)]
        for size in config.hash_group_sizes:
            value = torch.zeros_like(ids)
            for back in range(size):  # wraps in int64, as the hash is defined
                value = value * prime + padded[:, widest - 1 - back : widest - 1 - back + length]
            rows.append(value % config.hash_vocab + len(rows) * config.hash_vocab)
    return torch.stack(rows, dim=-1)


class _Networks(nn.Module):
    def __init__(self, config: BltConfig):
        super().__init__()
        tables = config.hash_functions * len(config.hash_group_sizes)
        self.encoder_hash_tok_embedding = _embedding(tables * config.hash_vocab, config.encoder.hidden_size)
        self.patcher = None if config.patcher is None else Patcher(config.patcher, config.vocab_size)
        self.local_encoder = _Encoder(config)
        self.global_transformer = _Latent(config)
        self.local_decoder = _Decoder(config)


class Stack(nn.Module):
    """Layers and the rotary angles they share."""

    def __init__(self, config: StackConfig):
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList([_Layer(config) for _ in range(config.layers)])

    def run(self, x: Tensor, window: int | None, document: Tensor | None) -> Tensor:
        cos, sin = self.rotary(x.shape[1], x.device)
        for layer in self.layers:
            x = layer(x, cos, sin, window, document)
        return x

    def rotary(self, length: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        """cos and sin, each [T, head_dim / 2]."""
        half = torch.arange(0, self.config.head_dim, 2, dtype=torch.float32, device=device) / self.config.head_dim
        position = torch.arange(length, dtype=torch.float32, device=device)
        angle = position[:, None] * (1.0 / self.config.rope_theta**half)
        return angle.cos(), angle.sin()


class Patcher(Stack):
    def __init__(self, config: StackConfig, vocab: int):
        super().__init__(config)
        self.embed_tokens = _embedding(vocab, config.hidden_size)
        self.norm = _norm(config)
        self.lm_head = _linear(config.hidden_size, vocab)


class _Encoder(Stack):
    def __init__(self, config: BltConfig):
        super().__init__(config.encoder)
        width = config.encoder.hidden_size
        self.k = config.cross_attn_k
        self.embed_tokens = _embedding(config.vocab_size, width)
        self.patch_embedding_projection = _linear(width, self.k * width)
        # transformers pools anew at every layer, so only the last cross-attention reaches the output.
        count = config.encoder.layers if config.encoder_cross_all_layers else 1
        self.cross_attn_layers = nn.ModuleList([_CrossAttention(config.encoder) for _ in range(count)])

    def bytes(self, ids: Tensor, table: Tensor, config: BltConfig) -> Tensor:
        """Byte embedding plus hash n-gram embeddings, [B, T, D]."""
        rows = hash_ids(ids, config)
        return self.embed_tokens(ids) + F.embedding(rows, table).sum(-2)

    def pool(self, x: Tensor, patch: Tensor, patches: int) -> Tensor:
        """Byte states [B, T, D] -> patch vectors [B, P, K * D] (blt-spec section 5.3)."""
        rows, _, width = x.shape
        index = patch[..., None].expand_as(x)
        pooled = x.new_zeros(rows, patches, width).scatter_reduce(1, index, x, "amax", include_self=False)
        query = self.patch_embedding_projection(pooled).view(rows, patches, self.k, width)
        cross = self.cross_attn_layers[-1].patches_from_bytes(query, x, patch)
        return (2 * query.float() + cross).reshape(rows, patches, self.k * width)


class _Latent(Stack):
    def __init__(self, config: BltConfig):
        super().__init__(config.latent)
        vectors = config.cross_attn_k * config.encoder.hidden_size
        needed = config.needs_latent_projection
        self.token_embedding_projection = _linear(vectors, config.latent.hidden_size) if needed else nn.Identity()

    def forward(self, vectors: Tensor, document: Tensor | None) -> Tensor:
        return self.run(self.token_embedding_projection(vectors), None, document)


class _Decoder(Stack):
    def __init__(self, config: BltConfig):
        super().__init__(config.decoder)
        width = config.decoder.hidden_size
        self.k = config.cross_attn_k
        self.patch_embedding_projection = _linear(config.latent.hidden_size, self.k * width)
        self.norm = _norm(config.decoder)
        count = config.decoder.layers if config.decoder_cross_all_layers else 1
        self.cross_attn_layers = nn.ModuleList([_CrossAttention(config.decoder) for _ in range(count)])

    def forward(self, y: Tensor, z: Tensor, newest: Tensor, window: int | None, document: Tensor | None) -> Tensor:
        """Byte states y [B, T, D] and latent states z [B, P, D'] -> normed states [B, T, D] (blt-spec section 7)."""
        keys = self.patch_embedding_projection(z).view(z.shape[0], z.shape[1], self.k, -1)
        cos, sin = self.rotary(y.shape[1], y.device)
        for index, layer in enumerate(self.layers):
            if index < len(self.cross_attn_layers):
                y = 2 * y + self.cross_attn_layers[index].bytes_from_patch(y, keys, newest)
            y = layer(y, cos, sin, window, document)
        return self.norm(y)


class _Layer(nn.Module):
    def __init__(self, config: StackConfig):
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = _norm(config), _norm(config)
        self.self_attn, self.mlp = _SelfAttention(config), _FeedForward(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, window: int | None, document: Tensor | None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, window, document)
        return x + self.mlp(self.post_attention_layernorm(x))


class _FeedForward(nn.Module):
    def __init__(self, config: StackConfig):
        super().__init__()
        self.gate_proj = _linear(config.hidden_size, config.intermediate_size)
        self.up_proj = _linear(config.hidden_size, config.intermediate_size)
        self.down_proj = _linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class _Attention(nn.Module):
    def __init__(self, config: StackConfig):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        self.q_proj = _linear(config.hidden_size, config.hidden_size)
        self.k_proj = _linear(config.hidden_size, self.kv_heads * self.head_dim)
        self.v_proj = _linear(config.hidden_size, self.kv_heads * self.head_dim)
        self.o_proj = _linear(config.hidden_size, config.hidden_size)

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[..., D] -> keys and values [..., N, head_dim], key/value heads repeated to N (grouped-query attention)."""
        repeats = self.heads // self.kv_heads
        shape = (*x.shape[:-1], self.kv_heads, self.head_dim)
        keys, values = self.k_proj(x).view(shape), self.v_proj(x).view(shape)
        if repeats == 1:
            return keys, values
        return keys.repeat_interleave(repeats, dim=-2), values.repeat_interleave(repeats, dim=-2)


class _SelfAttention(_Attention):
    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, window: int | None, document: Tensor | None) -> Tensor:
        rows, length, width = x.shape
        query = _rotate(self.q_proj(x).view(rows, length, self.heads, self.head_dim), cos, sin)
        key, value = self.keys_values(x)
        key = _rotate(key, cos, sin)
        query, key, value = (part.transpose(1, 2) for part in (query, key, value))
        mixed = _causal_attention(query, key, value, window, document)
        return self.o_proj(mixed.transpose(1, 2).reshape(rows, length, width))


class _CrossAttention(_Attention):
    """Attention between a patch's K vectors and bytes; the input is added by the caller, twice (blt-spec section 1)."""

    def __init__(self, config: StackConfig):
        super().__init__(config)
        self.q_norm, self.k_norm = _norm(config), _norm(config)

    def patches_from_bytes(self, query: Tensor, x: Tensor, patch: Tensor) -> Tensor:
        """Queries [B, P, K, D] each see the bytes of their own patch in x [B, T, D]; patch [B, T] -> [B, P, K, D]."""
        rows, patches, k, width = query.shape
        segment = _flat(patch, patches)
        q = self.q_proj(self.q_norm(query)).view(rows * patches, k, self.heads, self.head_dim)
        keys, values = (part.view(-1, 1, self.heads, self.head_dim) for part in self.keys_values(self.k_norm(x)))
        score = (q[segment] * keys).sum(-1).float() * self.head_dim**-0.5  # [B * T, K, N]
        index = segment[:, None, None].expand_as(score)
        with torch.no_grad():  # shifting a softmax by its maximum changes neither its value nor its gradient
            top = score.new_zeros(rows * patches, k, self.heads)
            top = top.scatter_reduce(0, index, score, "amax", include_self=False)
        weight = (score - top[segment]).exp()
        total = weight.new_zeros(rows * patches, k, self.heads).index_add(0, segment, weight)
        mixed = weight.new_zeros(rows * patches, k, self.heads, self.head_dim)
        mixed = mixed.index_add(0, segment, weight[..., None] * values)
        # Rows with fewer patches than P have empty ones at the end: their total is 0, their output is never read.
        mixed = mixed / total.clamp(min=1e-20)[..., None]
        return self.o_proj(mixed.view(rows, patches, k, width))

    def bytes_from_patch(self, y: Tensor, vectors: Tensor, patch: Tensor) -> Tensor:
        """Bytes y [B, T, D] each see the K vectors [B, P, K, D] of one patch; patch [B, T] -> [B, T, D]."""
        rows, length, width = y.shape
        segment = _flat(patch, vectors.shape[1])
        q = self.q_proj(self.q_norm(y)).view(rows * length, 1, self.heads, self.head_dim)
        keys, values = (part.flatten(0, 1)[segment] for part in self.keys_values(self.k_norm(vectors)))
        weight = ((q * keys).sum(-1) * self.head_dim**-0.5).softmax(dim=1)  # [B * T, K, N]
        return self.o_proj((weight[..., None] * values).sum(1).view(rows, length, width))


def _causal_attention(query: Tensor, key: Tensor, value: Tensor, window: int | None, document: Tensor | None) -> Tensor:
    """Causal attention over [B, N, T, head_dim], within `window` ids and one document (numbers [B, T])."""
    length = query.shape[2]
    if window is not None and length > 2 * window:
        return _block_attention(query, key, value, window, document)
    if document is None and (window is None or length <= window):
        return F.scaled_dot_product_attention(query, key, value, is_causal=True)
    position = torch.arange(length, device=query.device)
    visible = position[None, :] <= position[:, None]
    if window is not None:
        visible = visible & (position[None, :] > position[:, None] - window)
    if document is not None:
        visible = (visible & (document[:, :, None] == document[:, None, :]))[:, None]
    return F.scaled_dot_product_attention(query, key, value, attn_mask=visible)


def _block_attention(query: Tensor, key: Tensor, value: Tensor, window: int, document: Tensor | None) -> Tensor:
    """Windowed attention in blocks of `window` queries, each against its own and the previous block's keys."""
    rows, heads, length, dim = query.shape
    blocks = -(-length // window)
    tail = blocks * window - length
    q = F.pad(query, (0, 0, 0, tail)).view(rows, heads, blocks, window, dim).transpose(1, 2).flatten(0, 1)
    k, v = (
        F.pad(part, (0, 0, window, tail)).unfold(2, 2 * window, window).permute(0, 2, 1, 4, 3).flatten(0, 1)
        for part in (key, value)
    )
    device = query.device
    back = torch.arange(window, device=device)[:, None] + window - torch.arange(2 * window, device=device)  # query minus key position
    visible = (back >= 0) & (back < window)
    position = torch.arange(blocks, device=device)[:, None] * window + torch.arange(2 * window, device=device) - window
    exists = (position >= 0)[:, None, :]
    if document is None:
        mask = (visible & exists).repeat(rows, 1, 1)[:, None]
    else:
        q_document = F.pad(document, (0, tail), value=-2).view(rows, blocks, window, 1)
        k_document = F.pad(document, (window, tail), value=-2).unfold(1, 2 * window, window)[:, :, None, :]
        mask = (visible & exists & (q_document == k_document)).flatten(0, 1)[:, None]
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return mixed.view(rows, blocks, heads, window, dim).transpose(1, 2).reshape(rows, heads, -1, dim)[:, :, :length]


def documents_of(ids: Tensor) -> Tensor:
    """Number of the document each id belongs to, [B, T]; an EOS still belongs to the one it ends."""
    ends = (ids == EOS).long()
    return ends.cumsum(1) - ends


def _patch_documents(ids: Tensor, patch: Tensor, patches: int) -> Tensor:
    """Number of the document of each patch, [B, P]: blocks end after a patch that contains an EOS."""
    ends = torch.zeros(ids.shape[0], patches, dtype=torch.long, device=ids.device)
    ends = ends.scatter_reduce(1, patch, (ids == EOS).long(), "amax")
    return ends.cumsum(1) - ends


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of interleaved pairs: x [B, T, N, head_dim], cos and sin [T, head_dim / 2]."""
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = cos[:, None, :], sin[:, None, :]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).flatten(-2)


def _flat(patch: Tensor, patches: int) -> Tensor:
    """Patch numbers [B, T] -> indices into [B * P], [B * T]."""
    return (patch + torch.arange(patch.shape[0], device=patch.device)[:, None] * patches).flatten()


def _norm(config: StackConfig) -> nn.RMSNorm:
    return nn.RMSNorm(config.hidden_size, eps=config.norm_eps)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    linear = nn.Linear(inputs, outputs, bias=False)
    nn.init.trunc_normal_(linear.weight, std=inputs**-0.5, a=-3 * inputs**-0.5, b=3 * inputs**-0.5)
    return linear


def _embedding(rows: int, width: int) -> nn.Embedding:
    embedding = nn.Embedding(rows, width)
    nn.init.trunc_normal_(embedding.weight, std=width**-0.5, a=-3 * width**-0.5, b=3 * width**-0.5)
    return embedding
