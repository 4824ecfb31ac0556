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
# Layers of the tiny latent that the draft layer sees.
INNER = [0, 1]


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
    layer = trained(DraftLayer(shape_of(folder, WINDOW), len(INNER)), latent, pieces)
    add_drafter(folder, layer, pieces, INNER)
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
    states, inner = states_of(latent, path[:count], LatentCache(latent.config))
    embedded = latent.embedding[torch.tensor(path[:count])]
    foreseen = layer(one_later(states)[None], embedded[None], depth + 1, one_later(inner)[None])[depth][0, -1]
    chances = (latent.embedding[pieces] @ foreseen).softmax(-1).topk(3)
    return {"known": known, "count": count, "pieces": pieces[chances.indices].tolist(), "chances": chances.values.tolist()}


def trained(layer: DraftLayer, latent: LatentTransformer, pieces: Tensor, steps: int = 400) -> DraftLayer:
    paths, states, inner = (torch.stack(each) for each in zip(*(written(latent, pieces) for _ in range(40)), strict=True))
    before = torch.stack([one_later(each) for each in states])
    before_inside = torch.stack([one_later(each) for each in inner])
    answers = latent.embedding[pieces]
    optimizer = torch.optim.AdamW(layer.parameters(), 3e-3)
    for _ in range(steps):
        foreseen = layer(before, latent.embedding[paths], DEPTHS, before_inside)
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
def written(latent: LatentTransformer, pieces: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A path of pieces drawn from the latent, its states, and what the layers made that are seen [T, I, E]."""
    cache, path, states, inner = LatentCache(latent.config), [1], [], []
    for _ in range(LENGTH):
        state, inside = states_of(latent, path[-1:], cache)
        states.append(state[0])
        inner.append(inside[0])
        path.append(pieces[torch.multinomial((latent.embedding[pieces] @ state[0]).softmax(-1), 1)].item())
    return torch.tensor(path[:-1]), torch.stack(states), torch.stack(inner)


def states_of(latent: LatentTransformer, path: list[int], cache: LatentCache) -> tuple[Tensor, Tensor]:
    """States after pieces behind the cached ones [T, E], and the outputs of the layers that are seen [T, I, E]."""
    outputs = dict.fromkeys(INNER, torch.empty(0))
    states = latent.append(path, cache, outputs)
    return states, torch.stack([outputs[number] for number in INNER], dim=1)


def one_later(rows: Tensor) -> Tensor:
    """Zeros, and the rows but the last."""
    return torch.cat([torch.zeros_like(rows[:1]), rows[:-1]])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
