"""The default model on held-out projects, by language, beside xz, PPMd and its base by tokens: one table.

    python pretraining/evaluate.py files .cache/data/test .cache/evaluation/test --per-language 3
    node dist/cli.js eval .cache/evaluation/test --json > .cache/evaluation/test.runtime.json
    python pretraining/evaluate.py table .cache/evaluation/test --runtime .cache/evaluation/test.runtime.json --base .cache/base

`files` draws whole files of the test projects (at most one a project and language) into a folder a language, and with
`--noise` the same with noise: characters dropped (10 %), random case (half), characters repeated (20 %, two to four
times) as in the BLT paper, section 5.2. `table` scores them: bits per byte of xz -9e and PPMd (order 16) file by file,
of the model's own tokens (whole canonical cut), those of the base that it was trained from (a checkpoint of
`convert_smollm2.py`), and of the bytes as the runtime gives them; `--reference` adds the
reference implementation in fp32, `--plain` a checkpoint of the plain form, by our model and by transformers.
"""

import argparse
import json
import lzma
import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy
import pyppmd
import torch
from transformers import BltForCausalLM

from add_patcher import FILE
from checkpoint import load_checkpoint
from evaluate_plain import score as score_plain
from evaluate_plain import transformers_bits
from fallback import CountModel, patcher_fallback
from latent_reference import load_latent
from lexicon_reference import Trunk, score, score_by_tokens
from pieces import load_lexicon
from readout import Rule
from text_stream import read_split

SMALLEST, LARGEST = 1500, 6000
Noise = Callable[[str, random.Random], str]


def dropped(text: str, chance: random.Random) -> str:
    return "".join(each for each in text if chance.random() >= 0.1)


def random_case(text: str, chance: random.Random) -> str:
    return "".join(each.swapcase() if chance.random() < 0.5 else each for each in text)


def repeated(text: str, chance: random.Random) -> str:
    return "".join(each * chance.randint(2, 4) if chance.random() < 0.2 else each for each in text)


NOISES: dict[str, Noise] = {"dropped": dropped, "random-case": random_case, "repeated": repeated}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    files = commands.add_parser("files")
    files.add_argument("data", type=Path, help="without .bin and .json")
    files.add_argument("out", type=Path)
    files.add_argument("--per-language", type=int, default=3)
    files.add_argument("--noise", action="store_true")
    table = commands.add_parser("table")
    table.add_argument("folder", type=Path)
    table.add_argument("--runtime", type=Path, help="what `blt eval FOLDER --json` printed")
    table.add_argument("--checkpoint", type=Path, default=Path("models/default"))
    table.add_argument("--base", type=Path, help="checkpoint of the base")
    table.add_argument("--reference", action="store_true")
    table.add_argument("--plain", type=Path, help="checkpoint of a plain BLT in the Hugging Face layout")
    args = parser.parse_args()
    if args.command == "files":
        write_files(args.data, args.out, args.per_language, args.noise)
        return
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    for line in lines(rows_of(args.folder, args.runtime, args.checkpoint, args.reference, args.plain, args.base)):
        print(line)


def write_files(data: Path, out: Path, per_language: int, noise: bool) -> None:
    """OUT/<language>/<package>-<file name>; with noise OUT/<noise>/... of the same names."""
    for language, name, text in chosen_files(data, per_language):
        places = {language: text}
        if noise:
            places = {
                kind: change(text.decode(), random.Random(name)).encode() for kind, change in NOISES.items()
            } | {"clean": text}
        for folder, changed in places.items():
            (out / folder).mkdir(parents=True, exist_ok=True)
            (out / folder / name).write_bytes(changed)


def chosen_files(data: Path, per_language: int) -> Iterator[tuple[str, str, bytes]]:
    """(language, file name, text) of whole files, drawn once for all, one a package and language."""
    files = read_split(data)
    taken: dict[str, list[str]] = defaultdict(list)
    for i in numpy.random.default_rng(7).permutation(len(files)).tolist():
        package, path, language, text = files[i]
        if not SMALLEST <= len(text) <= LARGEST or package in taken[language] or len(taken[language]) == per_language:
            continue
        taken[language].append(package)
        name = f"{package}-{path.rsplit('/', 1)[-1]}".replace("/", "-").replace("@", "")
        yield language, name, text


def rows_of(
    folder: Path,
    runtime: Path | None,
    checkpoint: Path,
    reference: bool,
    plain: Path | None = None,
    base: Path | None = None,
) -> Iterator[tuple[str, int, dict]]:
    """(folder's name, bytes, bits by method) of each file."""
    by_runtime = runtime_bits(runtime) if runtime else {}
    blt = plain and (load_checkpoint(plain), BltForCausalLM.from_pretrained(plain, dtype=torch.float32).eval())
    latent, lexicon = load_latent(checkpoint), load_lexicon(checkpoint)
    before = base and load_latent(base)
    for path in sorted(folder.glob("*/*")):
        text = path.read_bytes()
        bits = {"xz": 8.0 * len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))}
        bits["PPMd"] = 8.0 * len(pyppmd.compress(text, max_order=16, mem_size=1 << 24, variant="H"))
        if before:
            bits["base, tokens"] = score_by_tokens(before, lexicon, text).sum() / math.log(2)
        bits["tokens"] = score_by_tokens(latent, lexicon, text).sum() / math.log(2)
        if runtime:
            key = f"{path.parent.name}/{path.name}"
            if key not in by_runtime:
                raise SystemExit(f"error: {runtime} has nothing of {key}; run blt eval on {folder} again")
            bits["bytes"] = by_runtime[key]
        if reference:
            fallback = patcher_fallback(checkpoint, text) if (checkpoint / FILE).exists() else CountModel()
            result = score(Trunk(latent, lexicon, text), Rule(), fallback)
            bits["reference"] = -result.log_probability[:-1].sum() / math.log(2)
        if blt:
            bits["plain"] = score_plain(blt[0], text).bits
            bits["plain, transformers"] = transformers_bits(blt[1], text)
        yield path.parent.name, len(text), bits


def runtime_bits(path: Path) -> dict[str, float]:
    """Bits by "folder/file" of what `blt eval --json` printed."""
    files = json.loads(path.read_text())["files"]
    return {"/".join(Path(file["path"]).parts[-2:]): file["bits"] for file in files}


def lines(rows: Iterator[tuple[str, int, dict]]) -> Iterator[str]:
    """The table, bits per byte; the last line is over all files together."""
    sizes: dict[str, int] = defaultdict(int)
    counts: dict[str, int] = defaultdict(int)
    sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for name, size, bits in rows:
        for key in (name, "all"):
            sizes[key] += size
            counts[key] += 1
            for method, value in bits.items():
                sums[key][method] += value
    if not sizes:
        raise SystemExit("error: there are no files to score; run `evaluate.py files` first")
    methods = list(sums["all"])
    yield f"| | files | bytes | {' | '.join(methods)} |"
    yield "|---" * (3 + len(methods)) + "|"
    for name in sorted(sizes, key=lambda each: (each == "all", each)):
        cells = [f"{sums[name][method] / sizes[name]:.3f}" for method in methods]
        yield f"| {name} | {counts[name]} | {sizes[name]} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
