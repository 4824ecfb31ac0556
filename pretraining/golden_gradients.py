"""Loss and gradients of whole tiny models by PyTorch, to which the training graphs are held.

    python pretraining/golden_gradients.py test/golden

reads test/golden/k4 (a plain BLT) and test/golden/lexicon/plain (a latent transformer over pieces) and writes
test/golden/gradients/{k4,lexicon}.safetensors: `loss` (mean over predictions, nats), the gradient of each weight that
the training graphs know (`model.` names), and as metadata `ids` or `pieces` that were read (the last is only predicted).
"""

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from checkpoint import load_checkpoint
from latent_reference import LatentCache, load_latent

TEXT = b"def f(x):\n    return x + 42\n\nconst na\xc3\xafve = f(7);\n"
PIECES = [0, 5, 31, 64, 7, 110, 12, 5, 31, 90, 64, 3, 77, 12, 12, 101, 44, 9]


def blt_gradients(folder: Path) -> tuple[dict[str, torch.Tensor], list[int]]:
    """Of latent transformer and local decoder; encoder, patcher and hash tables are fixed in fine-tuning."""
    model = load_checkpoint(folder)
    ids = torch.tensor([[1, *(byte + 4 for byte in TEXT)]])
    loss = F.cross_entropy(model(ids[:, :-1])[0], ids[0, 1:])
    loss.backward()
    fixed = ("model.patcher.", "model.encoder_hash", "model.local_encoder.layers", "model.local_encoder.embed_tokens")
    gradients = {
        name: p.grad for name, p in model.named_parameters() if p.grad is not None and not name.startswith(fixed)
    }
    return gradients | {"loss": loss.detach()[None]}, ids[0].tolist()


def lexicon_gradients(folder: Path) -> tuple[dict[str, torch.Tensor], list[int]]:
    """Of all layers, the final norm and the readout (apart from the same table as input)."""
    latent = load_latent(folder)
    pieces = [piece % len(latent.embedding) for piece in PIECES]
    leaves: dict[str, torch.Tensor] = {}
    for i, layer in enumerate(latent.layers):
        for name in layer:
            layer[name] = layer[name].clone().requires_grad_()
            leaves[f"model.global_transformer.layers.{i}.{name}"] = layer[name]
    latent.norm = latent.norm.clone().requires_grad_()
    readout = latent.embedding.clone().requires_grad_()
    leaves |= {"model.lexicon.norm.weight": latent.norm, "model.lexicon.embedding.weight": readout}
    cache = LatentCache(latent.config)
    position = torch.arange(len(pieces) - 1)
    states, _, _ = latent.run(pieces[:-1], position, position[None] <= position[:, None], cache)
    loss = F.cross_entropy(states @ readout.T, torch.tensor(pieces[1:]))
    loss.backward()
    return {name: leaf.grad for name, leaf in leaves.items()} | {"loss": loss.detach()[None]}, pieces


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("golden", type=Path)
    folder = parser.parse_args().golden
    (folder / "gradients").mkdir(exist_ok=True)
    for name, (tensors, read) in {
        "k4": blt_gradients(folder / "k4"),
        "lexicon": lexicon_gradients(folder / "lexicon/plain"),
    }.items():
        contiguous = {key: value.contiguous() for key, value in tensors.items()}
        save_file(contiguous, folder / f"gradients/{name}.safetensors", metadata={"ids": json.dumps(read)})


if __name__ == "__main__":
    main()
