"""Checkpoints in the Hugging Face BLT layout: `config.json` + `model.safetensors`."""

import json
import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from config import BltConfig, from_hf, to_hf
from model import Blt


def save_checkpoint(model: Blt, folder: Path, dtype: torch.dtype = torch.float16) -> None:
    """Writes `folder`; each file is complete or absent (temporary name, then rename)."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().to(dtype).contiguous() for name, tensor in model.state_dict().items()}
    partial = folder / "model.safetensors.part"
    save_file(tensors, partial, metadata={"format": "pt"})
    os.replace(partial, folder / "model.safetensors")
    name = str(dtype).removeprefix("torch.")
    partial = folder / "config.json.part"
    partial.write_text(json.dumps(to_hf(model.config) | {"dtype": name}, indent=1) + "\n")
    os.replace(partial, folder / "config.json")


def load_checkpoint(folder: Path, windows: bool = True, documents: bool = True) -> Blt:
    """Reads a checkpoint (sharded or not) as fp32."""
    model = Blt(load_config(folder), windows, documents)
    missing, unexpected = model.load_state_dict(load_tensors(folder), strict=False)
    if missing or unexpected:
        raise ValueError(f"{folder}: missing tensors {missing}, unexpected tensors {unexpected}")
    return model.eval()


def load_config(folder: Path) -> BltConfig:
    return from_hf(json.loads((folder / "config.json").read_text()))


def load_tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a checkpoint as fp32, by name."""
    files = ["model.safetensors"]
    if not (folder / files[0]).exists():
        index = json.loads((folder / "model.safetensors.index.json").read_text())
        files = sorted(set(index["weight_map"].values()))
    return {name: tensor.float() for file in files for name, tensor in load_file(folder / file).items()}
