"""Rows of pieces to train a latent on: whole files, and completions with what follows the cursor.

    python pretraining/completion_rows.py models/default .cache/data/train .cache/rows/train --megabytes 250

A completion is a place in a file as the editor shows it to the model (docs/completion-format.md):

    [parts of other files of the project] [0x1F path 0x1E] text before the cursor [0x1C text after it 0x1E] the last lines before
    the cursor, what is missing there

and ends with the piece of BOS and EOS, as every text does. What follows the cursor stands close before it, so that a cursor that
moves leaves most of what was read as it was. OUT.npy holds uint16 [N, LENGTH]: texts one after the other,
rows shuffled; a text that does not fit goes on in a row elsewhere. With `--completions M` OUT-completions.npz holds M single
completions for measuring: `with_suffix` and `without` [M, WIDTH], and where the missing part begins and ends in each.
"""

import argparse
import math
import random
import re
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy
import tokenizers

from text_stream import read_split

PATH, SUFFIX, PREFIX = "\x1f", "\x1c", "\x1e"
END = 0
LENGTH = 2048
WIDTH = 1024
# What may be taken of a language, as a share of the whole: what people write in an editor more than what is packaged most.
SHARES = {
    "TypeScript": 0.25,
    "JavaScript": 0.22,
    "Python": 0.2,
    "C": 0.05,
    "C++": 0.05,
    "Go": 0.06,
    "Java": 0.05,
    "Markdown": 0.03,
    "CSS": 0.02,
    "JSON": 0.015,
    "HTML": 0.012,
}
OTHER_SHARE = 0.01
LONGEST_FILE = 60_000
PART_LINES, STEP_LINES, LEAST_SHARED = 16, 8, 3  # as server/related.ts
NAME = re.compile(r"[^\W\d][\w$]{2,}")


@dataclass
class File:
    project: str
    path: str
    language: str
    text: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("data", type=Path, help="a split of prepare.py, without its ending: .cache/data/train")
    parser.add_argument("out", type=Path)
    parser.add_argument("--megabytes", type=float, default=250)
    parser.add_argument("--completions", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    projects = list(by_project(files_of(args.data), args.megabytes * 1e6, args.seed).values())
    tokenizer = args.checkpoint / "tokenizer.json"
    jobs = [(tokenizer, files, args.seed * 1_000_003 + number) for number, files in enumerate(projects)]
    jobs.sort(key=lambda job: -sum(len(file.text) for file in job[1]))
    with ProcessPoolExecutor(args.processes) as pool:
        pieces = numpy.concatenate(list(pool.map(pieces_of_project, *zip(*jobs, strict=True))))
    rows = shuffled_rows(pieces, args.seed)
    numpy.save(args.out.with_suffix(".npy"), rows)
    print(f"{args.out}: {len(rows)} rows of {LENGTH} pieces")
    if args.completions:
        arrays = held_out_completions(tokenizer, projects, args.completions, args.seed)
        numpy.savez(args.out.with_name(args.out.name + "-completions.npz"), **arrays)


def files_of(split: Path) -> list[File]:
    return [
        File(project, path, language, text.decode("utf-8", "replace"))
        for project, path, language, text in read_split(split)
    ]


def by_project(files: list[File], most_bytes: float, seed: int) -> dict[str, list[File]]:
    """A draw of the files in which no language has more than its share of `most_bytes`."""
    chance = random.Random(seed)
    left = defaultdict(lambda: OTHER_SHARE * most_bytes, {name: share * most_bytes for name, share in SHARES.items()})
    projects: dict[str, list[File]] = defaultdict(list)
    for file in chance.sample(files, len(files)):
        if 200 <= len(file.text) <= LONGEST_FILE and left[file.language] > 0:
            left[file.language] -= len(file.text)
            projects[file.project].append(file)
    return projects


def pieces_of_project(tokenizer: Path, files: list[File], seed: int) -> numpy.ndarray:
    """Pieces of all texts made of a project's files, each text between two END."""
    chance = random.Random(seed)
    parts = parts_of(files, chance)
    texts: list[str] = []
    for file in files:
        if chance.random() < 0.35:
            texts.append(whole_text(file, chance))
        else:
            # About as many bytes of completions as the file has.
            for _ in range(math.ceil(len(file.text) / 3500)):
                texts.append(completion(file, parts, chance).text)
    cutter = tokenizers.Tokenizer.from_file(str(tokenizer))
    stream: list[int] = []
    for at in range(0, len(texts), 256):
        for encoding in cutter.encode_batch_fast(texts[at : at + 256]):
            stream += [END, *encoding.ids]
    return numpy.array(stream, numpy.uint16)


def shuffled_rows(pieces: numpy.ndarray, seed: int) -> numpy.ndarray:
    rows = pieces[: len(pieces) // LENGTH * LENGTH].reshape(-1, LENGTH)
    return rows[numpy.random.default_rng(seed).permutation(len(rows))]


def whole_text(file: File, chance: random.Random) -> str:
    return (header(file) if chance.random() < 0.5 else "") + file.text


def header(file: File) -> str:
    """The path as the editor gives it: from the workspace on, at most three names."""
    return PATH + "/".join(file.path.split("/")[-3:]) + PREFIX


@dataclass
class Completion:
    """A text, and where in it (characters) what is missing at the cursor begins; `suffix` with its marks lies at [start, end)."""

    text: str
    missing: int
    suffix: tuple[int, int]


def completion(file: File, parts: list["Part"], chance: random.Random) -> Completion:
    """A place in a file: what is missing is half of the time the rest of a line, else less, or several lines."""
    text = file.text
    cursor = chance.randrange(1, len(text))
    end = missing_end(text, cursor, chance)
    begin = window_start(text, cursor, chance)
    front = related(text[max(begin, cursor - 1000) : cursor], file, parts, chance) if chance.random() < 0.4 else ""
    before = front + (header(file) if chance.random() < 0.8 else "")
    near, suffix = begin, ""
    if chance.random() < 0.85:
        near = near_start(text, begin, cursor, chance)
        suffix = SUFFIX + excerpt(text, end, int(40 * 20 ** chance.random())) + PREFIX
    before += text[begin:near]
    whole = before + suffix + text[near:end]
    return Completion(whole, len(whole) - (end - cursor), (len(before), len(before) + len(suffix)))


def missing_end(text: str, cursor: int, chance: random.Random) -> int:
    line_end = line_end_of(text, cursor)
    kind = chance.random()
    if kind < 0.12:
        return chance.randint(cursor, line_end)
    if kind < 0.65:
        return line_end
    for _ in range(chance.randint(1, 6)):
        line_end = line_end_of(text, min(line_end + 1, len(text)))
    return line_end


def window_start(text: str, cursor: int, chance: random.Random) -> int:
    """Like server/context.ts: the text's start, or the start of a line 300 to 4,000 characters away."""
    length = int(300 * 13 ** chance.random())
    if cursor <= length:
        return 0
    start = text.find("\n", cursor - length, cursor) + 1
    return start or cursor - length


def near_start(text: str, begin: int, cursor: int, chance: random.Random) -> int:
    """Where the lines begin that stand behind the suffix: up to 700 characters, or all of the window."""
    length = int(60 * 12 ** chance.random())
    if chance.random() < 0.25 or cursor - begin <= length:
        return begin
    start = text.find("\n", cursor - length, cursor) + 1
    return start or text.rfind("\n", begin, cursor) + 1 or begin


def excerpt(text: str, start: int, length: int) -> str:
    """What follows the cursor: to the end of a line, about `length` characters."""
    if len(text) - start <= length:
        return text[start:]
    end = text.rfind("\n", start, start + length) + 1
    return text[start : end or start + length]


def line_end_of(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


@dataclass
class Part:
    path: str
    lines: str
    names: frozenset[str]


def parts_of(files: list[File], chance: random.Random, most: int = 400) -> list[Part]:
    parts = []
    for file in chance.sample(files, len(files)):
        lines = file.text.split("\n")
        for start in range(0, max(1, len(lines) - STEP_LINES), STEP_LINES):
            part = "\n".join(lines[start : start + PART_LINES])
            if len(part) < 1500:
                parts.append(Part(file.path, part, frozenset(NAME.findall(part))))
        if len(parts) >= most:
            break
    return parts


def related(query: str, file: File, parts: list[Part], chance: random.Random) -> str:
    """One to three parts of other files that share most with the query, the best one last (server/related.ts)."""
    wanted = set(NAME.findall(query))
    frequency: dict[str, int] = defaultdict(int)
    shared = [(part, wanted & part.names) for part in parts if part.path != file.path]
    shared = [(part, names) for part, names in shared if len(names) >= LEAST_SHARED]
    for _, names in shared:
        for name in names:
            frequency[name] += 1
    scored = [
        (sum(math.log(1 + len(parts) / frequency[name]) for name in names) / math.sqrt(len(part.names)), number)
        for number, (part, names) in enumerate(shared)
    ]
    best = [shared[number][0].lines for _, number in sorted(scored, reverse=True)[:6:2]]
    return "".join(f"{lines}\n\n" for lines in reversed(best[: chance.randint(1, 3)]))


def held_out_completions(tokenizer: Path, projects: list[list[File]], count: int, seed: int) -> dict[str, numpy.ndarray]:
    """Completions with a suffix, each also without it; `missing` [M, 2]: first piece of the missing part, and past the last."""
    chance = random.Random(seed + 1)
    cutter = tokenizers.Tokenizer.from_file(str(tokenizer))
    kept: dict[str, list] = {"with_suffix": [], "with_missing": [], "without": [], "without_missing": []}
    while len(kept["without"]) < count:
        files = chance.choice(projects)
        made = completion(chance.choice(files), parts_of(files, chance), chance)
        start, end = made.suffix
        if start == end:
            continue
        without = Completion(made.text[:start] + made.text[end:], made.missing - (end - start), (start, start))
        for name, one in (("with", made), ("without", without)):
            encoding = cutter.encode(one.text)
            # The piece that holds the cursor is scored whole in both.
            first = next((i for i, (_, to) in enumerate(encoding.offsets) if to > one.missing), len(encoding.ids))
            ids = [END, *encoding.ids, END][-WIDTH:]
            shift = len(encoding.ids) + 2 - len(ids)
            kept["with_suffix" if name == "with" else "without"].append(ids + [END] * (WIDTH - len(ids)))
            kept[f"{name}_missing"].append((max(1, first + 1 - shift), len(ids)))
    return {name: numpy.array(values, numpy.uint16) for name, values in kept.items()}


if __name__ == "__main__":
    main()
