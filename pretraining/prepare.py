"""Prepares the training text: pinned packages -> .cache/data/{train,validation,test}.bin, ATTRIBUTION.md, statistics.

    python pretraining/prepare.py --list pretraining/packages.tsv --out .cache/data

Permissively licensed source text of npm, PyPI and Debian source packages, split by project, without generated files,
near-duplicates (MinHash of word 5-grams, Jaccard 0.7), secrets and e-mail addresses. The text is not committed; the
same list gives the same text. What has been unpacked and cleaned once is kept in OUT/extracted.

Format of a .bin file: documents as UTF-8 bytes, each followed by one byte 0xFF (never part of UTF-8).
<split>.json lists its documents in that order as [package, path, language, bytes]; packages.json the packages.
"""

import argparse
import hashlib
import json
import os
import random
import sys
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pool
from pathlib import Path

import numpy
from datasketch import MinHash, MinHashLSH

from archives import Package, PreparationError, fetch, find, read_list, texts
from cleaning import EXCLUDED, GROUP_OF, GROUPS, language_of, readable, without_secrets

SEPARATOR = b"\xff"
SPLITS = ("test", "validation", "train")
# What earlier measurements of this project were made on stays out of training.
ALWAYS_VALIDATION = {"zod", "hono", "onnxruntime-common", "onnxruntime", "httpx2", "llm", "huggingface-hub", "huggingface"}
PERMUTATIONS, SHINGLE, JACCARD, SCHEME = 64, 5, 0.7, "affine32"


@dataclass
class Document:
    """`signature`: MinHash values [PERMUTATIONS] of the text."""

    package: Package
    path: str
    language: str
    text: bytes
    signature: numpy.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", type=Path, default=Path(__file__).parent / "packages.tsv")
    parser.add_argument("--out", type=Path, default=Path(".cache/data"))
    parser.add_argument("--downloads", type=Path, help="default: OUT/downloads")
    parser.add_argument("--package-bytes", type=int, default=1_500_000, help="at most this much text of one package")
    parser.add_argument("--held-out-bytes", type=int, default=250_000, help="the same for validation and test")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--connections", type=int, default=6, help="downloads at a time")
    parser.add_argument("--skip-missing", action="store_true", help="leave out packages that cannot be downloaded")
    parser.add_argument("--offline", action="store_true", help="use only what is downloaded already")
    args = parser.parse_args()
    try:
        prepare(args)
    except PreparationError as error:
        raise SystemExit(f"error: {error}") from None
    except OSError as error:
        raise SystemExit(f"error: {error}; if the disk is full, free some space and run again") from None


def prepare(args: argparse.Namespace) -> None:
    downloads = args.downloads or args.out / "downloads"
    archives = {package: archive for package, archive in _fetched(read_list(args.list), downloads, args)}
    limits = {"train": args.package_bytes, "validation": args.held_out_bytes, "test": args.held_out_bytes}
    work = partial(_extracted, folder=args.out / "extracted", limits=limits)
    with Pool(args.workers) as pool:
        results = pool.imap(work, sorted(archives.items(), key=_order))
        documents, packages = deduplicated(results)
    documents = in_proportion(documents)
    write(documents, packages, args.out)
    for line in statistics(documents):
        print(line)


def split_of(project: str) -> str:
    """By a hash of the project's name: 6 % test, 6 % validation."""
    if project in ALWAYS_VALIDATION:
        return "validation"
    bucket = int.from_bytes(hashlib.sha256(project.encode()).digest()[:4], "big") % 100
    return "test" if bucket < 6 else "validation" if bucket < 12 else "train"


def extract(package: Package, archives: list[Path], limit: int) -> tuple[str, list[Document]]:
    """Licence and cleaned documents of one package, in an order drawn once for all, up to `limit` bytes."""
    licence, files = texts(package, archives)
    random.Random(package.name).shuffle(files)
    documents, total = [], 0
    for path, text in files:
        language = language_of(path)
        text = without_secrets(text)
        if language is None or total + len(text) > limit or not readable(text, language):
            continue
        documents.append(Document(package, path, language, text, signature_of(text)))
        total += len(text)
    return licence, documents


def signature_of(text: bytes) -> numpy.ndarray:
    words = text.split()
    shingles = {b" ".join(words[i : i + SHINGLE]) for i in range(max(1, len(words) - SHINGLE + 1))}
    hashed = MinHash(num_perm=PERMUTATIONS, scheme=SCHEME)
    hashed.update_batch(shingles)
    return hashed.hashvalues


def deduplicated(
    results: Iterator[tuple[Package, str, list[Document]]],
) -> tuple[dict[str, list[Document]], list[dict]]:
    """Documents by split without near-duplicates; test comes first, so that shared text is judged and not trained on."""
    index = MinHashLSH(threshold=JACCARD, num_perm=PERMUTATIONS)
    kept: dict[str, list[Document]] = {split: [] for split in SPLITS}
    packages, count = [], 0
    for package, licence, documents in results:
        fresh = []
        for document in documents:
            minhash = MinHash(num_perm=PERMUTATIONS, hashvalues=document.signature, scheme=SCHEME)
            if not index.query(minhash):
                index.insert(count, minhash)
                fresh.append(document)
                count += 1
        if not fresh:
            continue
        split = split_of(package.project)
        kept[split] += fresh
        entry = {"package": package.name, "version": package.version, "licence": licence, "split": split}
        entry |= {"ecosystem": package.ecosystem, "project": package.project, "files": len(fresh)}
        packages.append(entry | {"bytes": sum(len(document.text) for document in fresh)})
    return kept, packages


def in_proportion(documents: dict[str, list[Document]]) -> dict[str, list[Document]]:
    """Of the training text, what keeps a group of languages from exceeding its share by half; order drawn once for all."""
    train = list(documents["train"])
    random.Random(1).shuffle(train)
    total = sum(len(document.text) for document in train)
    used: dict[str, int] = defaultdict(int)
    kept = []
    for document in train:
        group = GROUP_OF[document.language]
        if used[group] < 1.5 * GROUPS[group][0] * total:
            kept.append(document)
            used[group] += len(document.text)
    return documents | {"train": kept}


def write(documents: dict[str, list[Document]], packages: list[dict], out: Path) -> None:
    """Each file is complete or as it was (temporary name, then rename)."""
    for split, chosen in documents.items():
        _replace(out / f"{split}.bin", b"".join(document.text + SEPARATOR for document in chosen))
        listing = [[each.package.name, each.path, each.language, len(each.text)] for each in chosen]
        _replace(out / f"{split}.json", (json.dumps(listing, indent=0) + "\n").encode())
    _replace(out / "packages.json", (json.dumps(packages, indent=1) + "\n").encode())
    _replace(out / "ATTRIBUTION.md", attribution(packages).encode())


def attribution(packages: list[dict]) -> str:
    lines = ["| package | version | from | licence | used for | bytes |", "|---|---|---|---|---|---|"]
    use = {"train": "training", "validation": "*validation*", "test": "*test*"}
    for entry in sorted(packages, key=lambda entry: (entry["ecosystem"], entry["package"].lower())):
        cells = [entry[key] for key in ("package", "version", "ecosystem", "licence")]
        lines.append(f"| {' | '.join(cells)} | {use[entry['split']]} | {entry['bytes']} |")
    return "\n".join(lines) + "\n"


def statistics(documents: dict[str, list[Document]]) -> Iterator[str]:
    for split, chosen in documents.items():
        by_language: dict[str, int] = defaultdict(int)
        for document in chosen:
            by_language[document.language] += len(document.text)
        total = sum(by_language.values())
        parts = ", ".join(f"{name} {size / 1e6:.1f}" for name, size in sorted(by_language.items(), key=lambda x: -x[1]))
        projects = len({document.package.project for document in chosen})
        yield f"{split}: {total / 1e6:.1f} MB, {len(chosen)} files, {projects} projects: {parts}"


def _fetched(
    packages: list[Package], downloads: Path, args: argparse.Namespace
) -> Iterator[tuple[Package, list[Path]]]:
    def archives_of(package: Package) -> list[Path]:
        if not args.offline:
            return fetch(package, downloads)
        found = find(package, downloads / package.ecosystem)
        if not found:
            raise PreparationError(f"{package.label} is not downloaded; run without --offline")
        return found

    with ThreadPoolExecutor(args.connections) as pool:
        waiting = [(package, pool.submit(archives_of, package)) for package in packages]
        for package, future in waiting:
            try:
                yield package, future.result()
            except PreparationError as error:
                if not args.skip_missing:
                    pool.shutdown(cancel_futures=True)
                    raise
                print(f"left out: {error}", file=sys.stderr)


def _order(item: tuple[Package, list[Path]]) -> tuple:
    return SPLITS.index(split_of(item[0].project)), item[0].ecosystem, item[0].name


def _extracted(
    item: tuple[Package, list[Path]], folder: Path, limits: dict[str, int]
) -> tuple[Package, str, list[Document]]:
    """`extract`, or what it gave last time."""
    package, archives = item
    limit = limits[split_of(package.project)]
    name = f"{package.ecosystem}-{package.name.replace('/', '-')}-{package.version}-{limit}.json"
    path = folder / name.replace(":", "-")
    if path.exists():
        digest, _, body = path.read_bytes().partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != digest:
            raise PreparationError(f"{path} is damaged; delete it and run again")
        licence, rows = json.loads(body)
        documents = [
            Document(package, where, language, text.encode(), numpy.array(signature, dtype=numpy.uint32))
            for where, language, text, signature in rows
        ]
        return package, licence, documents
    licence, documents = extract(package, archives, limit)
    rows = [[each.path, each.language, each.text.decode(), each.signature.tolist()] for each in documents]
    body = json.dumps([licence, rows])
    folder.mkdir(parents=True, exist_ok=True)
    _replace(path, f"{hashlib.sha256(body.encode()).hexdigest()}\n{body}".encode())
    return package, licence, documents


def _replace(path: Path, data: bytes) -> None:
    partial_path = path.with_name(path.name + ".part")
    try:
        partial_path.write_bytes(data)
        os.replace(partial_path, path)
    finally:
        partial_path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
