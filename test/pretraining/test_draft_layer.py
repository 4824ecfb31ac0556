"""What is foreseen at a depth equals steps taken one after the other, and depends on nothing later."""

from pathlib import Path

import pytest
import torch
from config import StackConfig
from draft_layer import DraftLayer, load_draft_layer, save_module
from model import _rotate

CONFIG = StackConfig(24, 1, 3, 1, 40, rope_theta=1000.0, window=6)


def random_layer(inner: int = 0) -> DraftLayer:
    torch.manual_seed(3)
    layer = DraftLayer(CONFIG, inner)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, mean=1.0 if parameter.ndim == 1 else 0.0, std=0.3)
    return layer


def one_by_one(
    layer: DraftLayer, states: torch.Tensor, pieces: torch.Tensor, inner: torch.Tensor | None, newest: int
) -> list[torch.Tensor]:
    """Steps at pieces 0, 1, ...: with what the latent has before the piece up to piece `newest`, then with its own state."""
    (block,), attn = layer.layers, layer.layers[0].self_attn
    cos, sin = layer.rotary(len(pieces))
    keys, values, found = [], [], []
    for at in range(len(pieces)):
        seen = layer.state_norm(states[at] if at <= newest else found[-1])
        if inner is not None and at <= newest:
            seen = seen + layer.seen_inside(inner[at])
        x = layer.input_proj(torch.cat([seen, layer.piece_norm(pieces[at])]))
        normed = block.input_layernorm(x)
        turn = lambda part: _rotate(part[None, None], cos[at : at + 1], sin[at : at + 1])[0, 0]  # noqa: E731
        key, value = attn.keys_values(normed)
        keys.append(turn(key))
        values.append(value)
        near = slice(max(0, at + 1 - CONFIG.window), None)
        query = turn(attn.q_proj(normed).view(attn.heads, -1))
        weights = torch.einsum("hd,khd->hk", query, torch.stack(keys[near])) * attn.head_dim**-0.5
        mixed = torch.einsum("hk,khd->hd", weights.softmax(-1), torch.stack(values[near]))
        x = x + attn.o_proj(mixed.flatten())
        x = x + block.mlp(block.post_attention_layernorm(x))
        found.append(layer.norm(x))
    return found


@torch.no_grad()
@pytest.mark.parametrize("layers", [0, 2])
def test_depths_equal_steps(layers: int) -> None:
    layer = random_layer(layers)
    states, pieces = torch.randn(1, 11, 24), torch.randn(1, 11, 24)
    inner = torch.randn(1, 11, layers, 24) if layers > 0 else None
    foreseen = layer(states, pieces, 3, inner)
    for newest in (4, 7, 8):
        steps = one_by_one(layer, states[0], pieces[0], None if inner is None else inner[0], newest)
        for depth in range(3):
            assert torch.allclose(foreseen[depth][0, newest + depth], steps[newest + depth], atol=1e-5)


@torch.no_grad()
def test_nothing_later_is_seen() -> None:
    layer = random_layer()
    states, pieces = torch.randn(1, 11, 24), torch.randn(1, 11, 24)
    before = layer(states, pieces, 3)
    states[0, 7] += 1
    pieces[0, 8] += 1
    after = layer(states, pieces, 3)
    for depth, (one, other) in enumerate(zip(before, after, strict=True)):
        assert torch.equal(one[0, : 7 + min(depth, 1)], other[0, : 7 + min(depth, 1)])
        assert not torch.allclose(one[0, 8], other[0, 8])


def test_weights_are_whole_and_come_back(tmp_path: Path) -> None:
    layer = random_layer()
    save_module(layer, tmp_path / "draft.safetensors", {"pieces": torch.tensor([4, 2], dtype=torch.int32)})
    assert [path.name for path in tmp_path.iterdir()] == ["draft.safetensors"]
    again = DraftLayer(CONFIG)
    assert load_draft_layer(again, tmp_path / "draft.safetensors").tolist() == [4, 2]
    for name, tensor in layer.state_dict().items():
        assert torch.allclose(again.state_dict()[name], tensor, atol=2e-3)
