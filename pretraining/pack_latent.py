"""A checkpoint out of a latent that `train_latent.py` trained.

    python pretraining/pack_latent.py models/default .cache/train/latent/parts models/default

takes lexicon, tokenizer and configuration of the first checkpoint, the one that training began from, and writes the second: layers as
4-bit blocks without minima, the embedding turned as in training as int8 rows, the readout matrix, and how a place in a
file is marked (docs/completion-format.md). A patcher that the target holds stays; `add_patcher.py` renews it.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file

from completion_rows import PATH, PREFIX, SUFFIX
from convert_smollm2 import write_json, write_shards
from int8_rows import int8_rows
from latent_reference import load_latent
from latent_training import JOINED, LAYER_PREFIX, rotation_of


def pack(base: Path, parts: Path, target: Path) -> None:
    config = json.loads((base / "config.json").read_text())
    tensors = layer_tensors(parts, config["global_config"])
    tensors["model.lexicon.embedding.weight"], tensors["model.lexicon.embedding.weight_scale"] = embedding_of(base)
    tensors["model.lexicon.norm.weight"] = np.ones(config["global_config"]["hidden_size"], np.float32)
    config["lexicon_config"]["readout_matrix"] = True
    marks = {"path": PATH, "suffix": SUFFIX, "prefix": PREFIX}
    config["lexicon_config"]["completion_marks"] = {name: ord(mark) for name, mark in marks.items()}
    config["quantization_config"]["minima"] = False
    patcher = {file.name: load_file(file) for file in [target / "patcher.safetensors"] if file.exists()}
    for stale in target.glob("model*.safetensors*"):
        stale.unlink()
    write_json(target / "config.json", config)
    write_shards(target, tensors)
    keep_in_index(target, patcher)


def embedding_of(base: Path) -> tuple[np.ndarray, np.ndarray]:
    """The base's embedding as int8 rows with their scales, turned as training turned it; one that was turned before stays."""
    latent = load_latent(base)
    table = latent.embedding
    if latent.readout is None:
        table = (table.double() @ rotation_of(table.shape[1]).double()).float()
    return int8_rows(table.numpy())


def layer_tensors(parts: Path, shape: dict) -> dict[str, np.ndarray]:
    """The layers' matrices, each of its own, from files that hold some layers each, joined as in training."""
    tensors: dict[str, np.ndarray] = {}
    head, width = shape["head_dim"], shape["hidden_size"]
    heads, kv_heads = shape["num_attention_heads"] * head, shape["num_key_value_heads"] * head
    ends = {"qkv": [heads, heads + kv_heads], "o": [], "gate_up": [shape["intermediate_size"]], "down": []}
    found = 0
    for file in sorted(parts.glob("layers-*.safetensors")):
        stored, first = load_file(file), int(file.stem.split("-")[1])
        if "readout" in stored:
            tensors["model.lexicon.readout.weight"] = np.ascontiguousarray(stored["readout"].T)
        for i in range(len(stored["o"])):
            layer = f"{LAYER_PREFIX}{first + i}."
            found += 1
            for norm in ("input_layernorm", "post_attention_layernorm"):
                tensors[f"{layer}{norm}.weight"] = np.ones(width, np.float32)
            for name, own in JOINED.items():
                for suffix in ("", "_scale"):
                    pieces = np.split(stored[f"{name}{suffix}"][i], ends[name])
                    for matrix, piece in zip(own, pieces, strict=True):
                        tensors[f"{layer}{matrix}.weight{suffix}"] = np.ascontiguousarray(piece)
    if found != shape["num_hidden_layers"]:
        raise SystemExit(f"error: {parts} holds {found} of {shape['num_hidden_layers']} layers")
    return tensors


def keep_in_index(target: Path, files: dict[str, dict[str, np.ndarray]]) -> None:
    """Lists the tensors of files that are not ours in the index."""
    path = target / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    for name, tensors in files.items():
        index["weight_map"] |= dict.fromkeys(tensors, name)
        index["metadata"]["total_size"] += sum(tensor.nbytes for tensor in tensors.values())
    write_json(path, index)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("parts", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    with torch.no_grad():
        pack(arguments.base, arguments.parts, arguments.target)
