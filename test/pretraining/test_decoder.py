"""The local decoder begins as the patcher, and a byte sees one latent."""

from pathlib import Path

import pytest
import torch
from add_patcher import stored_patcher
from config import StackConfig
from decoder import Decoder, decoder_shape, patcher_states, stored_decoder
from draft_layer import save_module
from lexicon_fixture import tiny_model
from model import BOS
from train_patcher import logits_of

TEXT = b"const value = con(x);\n    return value\n"
SHAPE = StackConfig(16, 2, 2, 2, 32)


def test_it_begins_as_the_patcher(tmp_path: Path) -> None:
    patcher = stored_patcher(tiny_model(tmp_path))
    decoder = Decoder(decoder_shape(patcher.config, 2), 32, 2)
    decoder.begin_from(patcher)
    ids = torch.tensor([[BOS, *(byte + 4 for byte in TEXT)]])
    with torch.no_grad():
        y = patcher_states(patcher, ids)[0]
        found = decoder(y, torch.randn(len(y), 32), torch.arange(len(y)))
        assert torch.allclose(found, logits_of(patcher, ids)[0], atol=1e-5)


def test_a_byte_has_one_latent() -> None:
    torch.manual_seed(2)
    decoder = Decoder(SHAPE, 32, 2)
    for layer in decoder.layers:
        torch.nn.init.normal_(layer.cross_attn.o_proj.weight)
    y, z, offset = torch.randn(5, 16), torch.randn(5, 32), torch.tensor([0, 3, 47, 60, 1])
    with torch.no_grad():
        whole, other = decoder(y, z, offset), z.clone()
        other[2] += 1
        off = (decoder(y, other, offset) - whole).abs().amax(1)
        alone = decoder(y[3:4], z[3:4], offset[3:4])
    assert off[2] > 1e-3 and off[[0, 1, 3, 4]].max() == 0
    assert torch.allclose(alone[0], whole[3], atol=1e-5)


def test_the_shape_is_read_from_the_file(tmp_path: Path) -> None:
    decoder = Decoder(SHAPE, 32, 2)
    save_module(decoder, tmp_path / "decoder.safetensors")
    again = stored_decoder(tmp_path / "decoder.safetensors", SHAPE)
    for name, tensor in decoder.state_dict().items():
        assert torch.allclose(again.state_dict()[name], tensor, atol=2e-3)
    with pytest.raises(ValueError, match="a decoder of width 16, the patcher has 24"):
        stored_decoder(tmp_path / "decoder.safetensors", StackConfig(24, 2, 2, 2, 32))
