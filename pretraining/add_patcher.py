"""Puts a trained entropy patcher into a checkpoint, in a file of its own: int8 rows, byte tables in 16 bits.

    python pretraining/add_patcher.py models/default .cache/train/patcher/patcher.safetensors --shape w192x4 --threshold 2.1

Writes patcher.safetensors, `patcher_config`, `patching_mode` and `patching_threshold` (nats) of config.json, the index
and SHA256SUMS. The other weight files stay as they are.
"""

import argparse
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from config import StackConfig, patcher_to_hf
from model import Patcher
from train_patcher import SHAPES, load_patcher

FILE = "patcher.safetensors"
# Parts of a row's largest magnitude that are tried as the end of its range.
CLIPPINGS = (1.0, 0.96, 0.92, 0.88, 0.84, 0.8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("patcher", type=Path)
    parser.add_argument("--shape", choices=sorted(SHAPES), required=True)
    parser.add_argument("--threshold", type=float, required=True, help="nats")
    args = parser.parse_args()
    patcher = Patcher(SHAPES[args.shape], 260)
    load_patcher(patcher, args.patcher)
    add_patcher(args.checkpoint, patcher, args.threshold)


def add_patcher(folder: Path, patcher: Patcher, threshold: float) -> None:
    config = {"patch_in_forward": True, "patching_mode": "entropy", "patching_threshold": round(threshold, 4)}
    put_part(folder, FILE, "model.patcher.", stored(patcher), config | {"patcher_config": patcher_to_hf(patcher.config)})


def put_part(folder: Path, file: str, prefix: str, tensors: dict[str, Tensor], changes: dict) -> None:
    """Writes a file of a checkpoint that holds all tensors whose names begin with `prefix`, and what refers to it."""
    save_file(tensors, folder / f"{file}.part", metadata={"format": "pt"})
    os.replace(folder / f"{file}.part", folder / file)
    config = json.loads((folder / "config.json").read_text()) | changes
    _write(folder / "config.json", json.dumps(config, indent=2) + "\n")

    index = json.loads((folder / "model.safetensors.index.json").read_text())
    places = {name: each for name, each in index["weight_map"].items() if not name.startswith(prefix)}
    places |= dict.fromkeys(tensors, file)
    files = sorted(set(places.values()))
    total = sum(tensor.nbytes for each in files for tensor in load_file(folder / each).values())
    index = {"metadata": {"total_size": total}, "weight_map": places}
    _write(folder / "model.safetensors.index.json", json.dumps(index, indent=2) + "\n")

    names = sorted({"config.json", "model.safetensors.index.json", "tokenizer.json", *files})
    sums = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    _write(folder / "SHA256SUMS", "".join(sums))


def stored(patcher: Patcher) -> dict[str, Tensor]:
    """Tensors as a checkpoint holds them (docs/checkpoint-format.md), by name."""
    return stored_part(patcher, "model.patcher.", lambda name: "layers." in name)


def stored_part(module: nn.Module, prefix: str, in_rows: Callable[[str], bool]) -> dict[str, Tensor]:
    """A network's tensors: vectors in F32, matrices as int8 rows where `in_rows` says so of their name, others in F16."""
    tensors: dict[str, Tensor] = {}
    for short, tensor in module.state_dict().items():
        name = f"{prefix}{short}"
        if tensor.ndim == 1:
            tensors[name] = tensor.float().contiguous()
        elif in_rows(short):
            tensors[name], tensors[f"{name}_scale"] = int8_rows(tensor)
        else:
            tensors[name] = tensor.half().contiguous()
    return tensors


def int8_rows(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """[R, C] -> integers [R, C] and scales [R] with the least squared error of the ranges tried."""
    largest = matrix.abs().amax(1).clamp(min=1e-12)
    best = torch.full_like(largest, torch.inf)
    integers, scales = torch.zeros_like(matrix), torch.ones_like(largest)
    for clipping in CLIPPINGS:
        q = (matrix * (127 / (largest * clipping))[:, None]).round().clamp(-127, 127)
        scale = (matrix * q).sum(1) / q.square().sum(1).clamp(min=1)
        error = (matrix - q * scale[:, None]).square().sum(1)
        better = error < best
        integers[better], scales[better], best = q[better], scale[better], torch.minimum(best, error)
    return integers.to(torch.int8), scales


def stored_patcher(folder: Path) -> Patcher:
    """The patcher of a checkpoint with a lexicon, as fp32."""
    config = json.loads((folder / "config.json").read_text())["patcher_config"]
    shape = StackConfig(
        config["hidden_size"],
        config["num_hidden_layers"],
        config["num_attention_heads"],
        config["num_key_value_heads"],
        config["intermediate_size"],
        rope_theta=config["rope_parameters"]["rope_theta"],
        norm_eps=config["rms_norm_eps"],
        window=config["sliding_window"],
    )
    patcher = Patcher(shape, 260)
    patcher.load_state_dict(dequantised(load_file(folder / FILE), "model.patcher."))
    return patcher.eval()


def dequantised(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Tensors of a part as fp32, by their names behind `prefix`."""
    return {
        name.removeprefix(prefix): tensor.float() * tensors[f"{name}_scale"][:, None]
        if f"{name}_scale" in tensors
        else tensor.float()
        for name, tensor in tensors.items()
        if not name.endswith("_scale")
    }


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".part")
    partial.write_text(text)
    os.replace(partial, path)


if __name__ == "__main__":
    main()
