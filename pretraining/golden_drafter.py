"""Writes test/golden/lexicon/drafted: a tiny model with a draft layer, and what it proposes along a path, for the runtime's test.

    python pretraining/golden_drafter.py test/golden/lexicon/drafted

The draft layer is trained for seconds on paths that its latent writes, so that its drafts are right at times.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from add_drafter import add_drafter, shape_of, stored_drafter
from draft_layer import DraftLayer
from golden_lexicon import TEXTS, write_checkpoint
from latent_reference import LatentCache, LatentTransformer, load_latent
from pieces import load_lexicon
from train_drafter import Divergence

WINDOW, DEPTHS, LENGTH = 6, 3, 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path)
    write(parser.parse_args().target)


def write(folder: Path) -> None:
    write_checkpoint(folder, "symmetric")
    # Several files with an index, as the default model has them.
    first = (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    places = dict.fromkeys(load_file(first), first.name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    latent, lexicon = load_latent(folder), load_lexicon(folder)
    pieces = torch.tensor([piece for piece in range(len(lexicon.pieces)) if piece != lexicon.bos])
    torch.manual_seed(1)
    layer = trained(DraftLayer(shape_of(folder, WINDOW)), latent, pieces)
    add_drafter(folder, layer, pieces)
    layer, pieces = stored_drafter(folder)
    path = [lexicon.bos, *(piece for piece, _ in lexicon.cut(TEXTS["code"]))]
    golden = {"path": path, "cases": [case(layer, latent, pieces, path, known, depth) for known, depth in CASES]}
    (folder / "drafter.json").write_text(json.dumps(golden) + "\n")


# The latent's states are known of the first so many pieces, and this many follow.
CASES = [(0, 0), (1, 0), (1, 1), (4, 0), (4, 2), (9, 1), (12, 0), (12, 2), (7, 0)]


@torch.no_grad()
def case(layer: DraftLayer, latent: LatentTransformer, pieces: Tensor, path: list[int], known: int, depth: int) -> dict:
    """The three likeliest pieces after the first `known` + 1 + `depth` of the path, and their chances."""
    count = known + 1 + depth
    states = latent.append(path[:count], LatentCache(latent.config))
    before = torch.cat([torch.zeros(1, states.shape[1]), states[:-1]])[None]
    foreseen = layer(before, latent.embedding[torch.tensor(path[:count])][None], depth + 1)[depth][0, -1]
    chances = (latent.embedding[pieces] @ foreseen).softmax(-1).topk(3)
    return {"known": known, "count": count, "pieces": pieces[chances.indices].tolist(), "chances": chances.values.tolist()}


def trained(layer: DraftLayer, latent: LatentTransformer, pieces: Tensor, steps: int = 400) -> DraftLayer:
    paths, states = zip(*(written(latent, pieces) for _ in range(40)), strict=True)
    paths, states = torch.stack(paths), torch.stack(states)
    before = torch.cat([torch.zeros_like(states[:, :1]), states[:, :-1]], dim=1)
    answers = latent.embedding[pieces]
    optimizer = torch.optim.AdamW(layer.parameters(), 3e-3)
    for _ in range(steps):
        foreseen = layer(before, latent.embedding[paths], DEPTHS)
        parts = [(each[:, d:].flatten(0, 1), states[:, d:].flatten(0, 1)) for d, each in enumerate(foreseen)]
        loss = sum(
            Divergence.apply(ours[None], theirs, answers, torch.full((1, len(ours)), 1 / len(ours))).sum() for ours, theirs in parts
        )
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    print(f"{loss.item() / DEPTHS:.3f} nats a piece over the latent's own")
    return layer.eval()


@torch.no_grad()
def written(latent: LatentTransformer, pieces: Tensor) -> tuple[Tensor, Tensor]:
    """A path of pieces drawn from the latent, and its states."""
    cache, path, states = LatentCache(latent.config), [1], []
    for _ in range(LENGTH):
        state = latent.append(path[-1:], cache)[0]
        states.append(state)
        path.append(pieces[torch.multinomial((latent.embedding[pieces] @ state).softmax(-1), 1)].item())
    return torch.tensor(path[:-1]), torch.stack(states)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
