"""Puts a trained draft layer into a checkpoint with a lexicon, in a file of its own: int8 rows.

    python pretraining/add_drafter.py models/default OUT/draft-9-19.safetensors --inner 9 19 --pieces 8192

`--inner`: the layers of the latent that it was trained to see. `--pieces`: how many it proposes, the most frequent of those that it
was trained on; more cost time, fewer cost drafts. Writes drafter.safetensors, `drafter_config` of config.json, the index and
SHA256SUMS. The other weight files stay as they are.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from add_patcher import dequantised, put_part, stored_part
from config import StackConfig, patcher_to_hf
from draft_layer import DraftLayer, load_draft_layer

FILE, PREFIX = "drafter.safetensors", "model.lexicon.drafter."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("draft", type=Path, help="of train_drafter.py")
    parser.add_argument("--inner", type=int, nargs="*", default=[])
    parser.add_argument("--pieces", type=int, default=8192)
    parser.add_argument("--window", type=int, default=512, help="pieces it looks back, at most as many as in training")
    args = parser.parse_args()
    layer = DraftLayer(shape_of(args.checkpoint, args.window), len(args.inner))
    pieces = load_draft_layer(layer, args.draft)[: args.pieces]
    add_drafter(args.checkpoint, layer, pieces, args.inner)


def shape_of(folder: Path, window: int) -> StackConfig:
    """The draft layer's shape for the latent of a checkpoint."""
    latent = json.loads((folder / "config.json").read_text())["global_config"]
    width, heads, kv_heads = latent["hidden_size"], latent["num_attention_heads"], latent["num_key_value_heads"]
    theta = latent["rope_parameters"]["rope_theta"]
    return StackConfig(width, 1, heads, kv_heads, 8 * width // 3, theta, latent["rms_norm_eps"], window)


def add_drafter(folder: Path, layer: DraftLayer, pieces: Tensor, inner: list[int]) -> None:
    """inner: the layers of the latent that it sees."""
    tensors = stored_part(layer, PREFIX, lambda name: True)
    tensors[f"{PREFIX}pieces"] = pieces.to(torch.float32)
    config = patcher_to_hf(layer.config) | {"model_type": "blt_drafter", "vocab_size": len(pieces), "inner_layers": inner}
    put_part(folder, FILE, PREFIX, tensors, {"drafter_config": config})


def stored_drafter(folder: Path) -> tuple[DraftLayer, Tensor]:
    """The draft layer of a checkpoint as fp32, and the pieces that it proposes."""
    config = json.loads((folder / "config.json").read_text())["drafter_config"]
    layer = DraftLayer(shape_of(folder, config["sliding_window"]), len(config["inner_layers"]))
    tensors = dequantised(load_file(folder / FILE), PREFIX)
    pieces = tensors.pop("pieces").long()
    layer.load_state_dict(tensors)
    return layer.eval(), pieces


if __name__ == "__main__":
    main()
