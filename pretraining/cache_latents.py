"""Keeps the latent's states along prefixes of prepared documents, for training and measuring what reads them.

    python pretraining/cache_latents.py models/default .cache/data/train .cache/train/latents --files 240

A file a document (OUT/00000.npz): `text` [n] bytes, `pieces` [P] and `starts` [P] of its canonical cut, and `states`
[P + 1, D] in 16 bits, after BOS and after each piece. Documents that are there already are not run again.
"""

import argparse
import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch

from latent_reference import LatentCache, LatentTransformer, load_latent
from pieces import Lexicon, load_lexicon

# Wanted shares of documents, percent.
SHARES = (
    ({"TypeScript", "JavaScript"}, 40),
    ({"Python"}, 20),
    ({"Rust", "Go", "C", "C++", "Java", "C#", "Kotlin", "Swift"}, 25),
    ({"HTML", "CSS", "JSON", "YAML", "shell", "SQL", "Markdown"}, 15),
)


@dataclass
class CachedText:
    """A document's beginning: n bytes, P pieces. States are float32."""

    text: bytes
    pieces: numpy.ndarray
    starts: numpy.ndarray
    states: torch.Tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("data", type=Path, help="without .bin and .json")
    parser.add_argument("out", type=Path)
    parser.add_argument("--files", type=int, default=240)
    parser.add_argument("--longest", type=int, default=4000, help="bytes of one document")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    latent, lexicon = load_latent(args.checkpoint), load_lexicon(args.checkpoint)
    args.out.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(chosen_texts(args.data, args.files, args.longest)):
        path = args.out / f"{number:05}.npz"
        if not path.exists():
            store(path, run(latent, lexicon, text))


def chosen_texts(data: Path, files: int, longest: int) -> list[bytes]:
    """Beginnings of documents, drawn once for all: languages by SHARES, within them projects in turn."""
    listing = json.loads(data.with_suffix(".json").read_text())
    texts = numpy.memmap(data.with_suffix(".bin"), numpy.uint8, "r")
    ends = numpy.flatnonzero(texts == 0xFF)
    firsts = numpy.concatenate([[0], ends[:-1] + 1])
    order = numpy.random.default_rng(3).permutation(len(listing)).tolist()
    chosen: list[tuple[float, int]] = []
    for languages, share in SHARES:
        wanted = round(files * share / 100)
        seen: dict[str, int] = {}
        ranked: list[tuple[int, int]] = []
        for place in order:
            package, _, language, size = listing[place]
            if language in languages and size >= 500:
                ranked.append((seen.get(package, 0), place))
                seen[package] = seen.get(package, 0) + 1
        # The first document of each project, then the second, ...; spread so that any beginning has all languages.
        ranked.sort(key=lambda each: each[0])
        chosen += [((i + 0.5) / wanted, place) for i, (_, place) in enumerate(ranked[:wanted])]
    return [bytes(texts[firsts[place] : min(ends[place], firsts[place] + longest)]) for _, place in sorted(chosen)]


def run(latent: LatentTransformer, lexicon: Lexicon, text: bytes) -> CachedText:
    cut = lexicon.cut(text)
    sequence = [lexicon.bos, *(piece for piece, _ in cut)]
    cache = LatentCache(latent.config, len(sequence))
    states = torch.cat([latent.append(sequence[i : i + 256], cache) for i in range(0, len(sequence), 256)])
    pieces, starts = numpy.array(cut, dtype=numpy.int32).reshape(-1, 2).T
    return CachedText(text, pieces, starts, states)


def store(path: Path, cached: CachedText) -> None:
    """Whole or not at all."""
    partial = path.with_name(path.name + ".part")
    try:
        with partial.open("wb") as file:
            numpy.savez(
                file,
                text=numpy.frombuffer(cached.text, numpy.uint8),
                pieces=cached.pieces,
                starts=cached.starts,
                states=cached.states.half().numpy(),
            )
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise SystemExit(f"error: {path} could not be written ({error.strerror}); free some space") from error


def load(path: Path, lexicon: Lexicon | None = None) -> CachedText:
    """One stored document; with `lexicon` its pieces must spell its text."""
    try:
        with numpy.load(path) as stored:
            text, pieces, starts = stored["text"].tobytes(), stored["pieces"], stored["starts"]
            states = torch.from_numpy(stored["states"]).float()
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise SystemExit(f"error: {path} is damaged; remove it and run cache_latents.py again") from error
    if len(states) != len(pieces) + 1 or not bool(states.isfinite().all()):
        raise SystemExit(f"error: {path} is damaged; remove it and run cache_latents.py again")
    spelt = lexicon is not None and all(
        piece < len(lexicon.pieces) and text.startswith(lexicon.pieces[piece], start)
        for piece, start in zip(pieces.tolist(), starts.tolist(), strict=True)
    )
    if lexicon is not None and not spelt:
        raise SystemExit(f"error: {path} was cut by another lexicon; remove the folder and run cache_latents.py again")
    return CachedText(text, pieces, starts, states)


def load_all(folder: Path, lexicon: Lexicon | None = None) -> list[CachedText]:
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise SystemExit(f"error: {folder} holds no latents; run cache_latents.py first")
    return [load(path, lexicon) for path in paths]


if __name__ == "__main__":
    main()
