"""Collects permissively licensed source text from installed packages into .cache/data/{train,validation}.bin.

A stand-in for the real data set: npm packages below the given node_modules folders and Python distributions of this
interpreter. Only packages whose stated licence allows it are taken; files are split into train and validation by
package, so that no validation project is seen in training.

Format of a .bin file: documents as UTF-8 bytes, each followed by one byte 0xFF (never part of UTF-8).
{train,validation}.json lists their files in that order as [package, path, bytes]; packages.json lists package,
version, licence, split and bytes; ATTRIBUTION.md says the same in words.
"""

import argparse
import hashlib
import importlib.metadata
import json
import os
import random
import re
from dataclasses import dataclass
from pathlib import Path

SEPARATOR = b"\xff"

# Projects that the product is compared with or built on: they stay unseen so that measurements on them are fair.
EXCLUDED = re.compile(
    r"^(jax-js|@jax-js/.*|vscode-languageserver(-client|-protocol|-types|-jsonrpc|-textdocument)?|vscode-jsonrpc"
    r"|vscode-languageclient|twinny|nanochat|node-llama-cpp|@node-llama-cpp/.*|biome-vscode)$"
)
PERMISSIVE = {"MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC"}
CLASSIFIERS = {"MIT License": "MIT", "Apache Software License": "Apache-2.0", "BSD License": "BSD-3-Clause"}
CLASSIFIERS["ISC License (ISCL)"] = "ISC"
# Free-text licence fields of older packages, spelled as they occur.
SPELLINGS = {"Apache 2.0 License": "Apache-2.0", "Apache": "Apache-2.0", "Apache 2.0": "Apache-2.0"}
SPELLINGS |= {"BSD": "BSD-3-Clause", "MIT License": "MIT", "Apache License 2.0": "Apache-2.0"}

SUFFIXES = {".ts", ".mts", ".cts", ".tsx", ".js", ".mjs", ".cjs", ".jsx", ".py", ".pyi", ".css", ".html", ".sh"}
SUFFIXES |= {".md", ".json", ".yml", ".yaml", ".toml"}
SKIPPED_FOLDERS = {"node_modules", "vendor", "_vendor", "vendored", "third_party", "external", "__pycache__", ".git"}
SMALLEST, LARGEST = 200, 200_000


@dataclass
class Package:
    name: str
    version: str
    licence: str
    ecosystem: str
    files: list[Path]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--npm", type=Path, nargs="*", default=[Path("node_modules")], help="node_modules folders")
    parser.add_argument("--out", type=Path, default=Path(".cache/data"))
    parser.add_argument("--package-bytes", type=int, default=1_500_000, help="at most this much text of one package")
    parser.add_argument("--validation-share", type=float, default=0.08, help="of the packages")
    args = parser.parse_args()
    packages = [package for folder in args.npm for package in npm_packages(folder)] + python_packages()
    manifest = write(unique(packages), args.out, args.package_bytes, args.validation_share)
    for split in ("train", "validation"):
        chosen = [entry for entry in manifest if entry["split"] == split]
        print(f"{split}: {len(chosen)} packages, {sum(entry['bytes'] for entry in chosen)} bytes")


def permissive(licence: str) -> bool:
    """Whether an SPDX expression allows use under permissive licences alone: every AND part, any OR part."""
    expression = licence.replace("(", " ").replace(")", " ").strip()
    if not expression or " WITH " in expression:
        return False
    return any(all(part.strip() in PERMISSIVE for part in option.split(" AND ")) for option in expression.split(" OR "))


def npm_packages(folder: Path) -> list[Package]:
    """Packages of a node_modules folder, nested ones included."""
    result = []
    for manifest in sorted(folder.rglob("package.json")):
        if "node_modules" not in manifest.parent.parent.name and not manifest.parent.parent.name.startswith("@"):
            continue
        stated = json.loads(manifest.read_text(errors="replace"))
        name, licence = stated.get("name"), stated.get("license")
        if isinstance(name, str) and isinstance(licence, str) and permissive(licence) and not EXCLUDED.match(name):
            files = source_files(manifest.parent)
            result.append(Package(name, str(stated.get("version")), licence, "npm", files))
    return result


def python_packages() -> list[Package]:
    """Installed distributions of this interpreter."""
    result = []
    for distribution in importlib.metadata.distributions():
        name, licence = distribution.metadata["Name"], python_licence(distribution)
        if not permissive(licence) or EXCLUDED.match(name):
            continue
        paths = sorted(Path(str(distribution.locate_file(file))) for file in distribution.files or [])
        files = [path for path in paths if usable(path, ()) and ".dist-info" not in str(path)]
        files = [path for path in files if not SKIPPED_FOLDERS & set(path.parts[path.parts.index("site-packages") :])]
        result.append(Package(name, distribution.version, licence, "pypi", files))
    return sorted(result, key=lambda package: package.name)


def python_licence(distribution: importlib.metadata.Distribution) -> str:
    metadata = distribution.metadata
    if metadata.get("License-Expression"):
        return metadata["License-Expression"]
    for classifier in metadata.get_all("Classifier") or []:
        found = classifier.rsplit(" :: ", 1)[-1]
        if classifier.startswith("License ::") and found in CLASSIFIERS:
            return CLASSIFIERS[found]
    stated = (metadata.get("License") or "").strip()
    return SPELLINGS.get(stated, stated if stated in PERMISSIVE else "")


def source_files(folder: Path) -> list[Path]:
    result: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS)
        result += [Path(parent) / name for name in sorted(names) if usable(Path(parent) / name, (".min.js",))]
    return result


def usable(path: Path, endings: tuple[str, ...]) -> bool:
    name = path.name
    if path.suffix not in SUFFIXES or name.endswith(endings) or name in {"package-lock.json", "packages.json"}:
        return False
    return path.is_file() and SMALLEST <= path.stat().st_size <= LARGEST


def unique(packages: list[Package]) -> list[Package]:
    """One package a name (the first met), ordered by name."""
    by_name: dict[str, Package] = {}
    for package in packages:
        by_name.setdefault(f"{package.ecosystem}:{package.name}", package)
    return [by_name[key] for key in sorted(by_name)]


def write(packages: list[Package], out: Path, package_bytes: int, validation_share: float) -> list[dict]:
    out.mkdir(parents=True, exist_ok=True)
    documents: dict[str, list[tuple[str, str, bytes]]] = {"train": [], "validation": []}
    seen: set[bytes] = set()
    manifest = []
    # Validation packages come first, so that text that two packages share is judged there and not trained on.
    for package in sorted(
        packages, key=lambda package: (split_of(package, validation_share) != "validation", package.name)
    ):
        split = split_of(package, validation_share)
        texts = texts_of(package, seen, package_bytes)
        if not texts:
            continue
        documents[split] += [(package.name, *text) for text in texts]
        entry = {"package": package.name, "version": package.version, "licence": package.licence}
        entry |= {"ecosystem": package.ecosystem, "split": split, "files": len(texts)}
        manifest.append(entry | {"bytes": sum(len(text) for _, text in texts)})
    for split, texts in documents.items():
        random.Random(1).shuffle(texts)
        (out / f"{split}.bin").write_bytes(b"".join(text + SEPARATOR for _, _, text in texts))
        listing = [[name, path, len(text)] for name, path, text in texts]
        (out / f"{split}.json").write_text(json.dumps(listing, indent=0) + "\n")
    (out / "ATTRIBUTION.md").write_text(attribution(manifest))
    (out / "packages.json").write_text(json.dumps(manifest, indent=1) + "\n")
    return manifest


def split_of(package: Package, validation_share: float) -> str:
    """By a hash of the name: the same package is always on the same side."""
    digest = hashlib.sha256(f"{package.ecosystem}:{package.name}".encode()).digest()
    return "validation" if digest[0] < 256 * validation_share else "train"


def texts_of(package: Package, seen: set[bytes], package_bytes: int) -> list[tuple[str, bytes]]:
    """A package's (path, text) in a random order up to `package_bytes`, without generated files and near-duplicates."""
    files = list(package.files)
    random.Random(package.name).shuffle(files)
    texts, total = [], 0
    for file in files:
        text = file.read_bytes()
        if total + len(text) > package_bytes or not readable(text) or not is_new(text, seen):
            continue
        texts.append((inside(file, package.name), text))
        total += len(text)
    return texts


def inside(file: Path, name: str) -> str:
    """A file's path without the folders above the packages'."""
    parts = file.parts
    above = max((i for i, part in enumerate(parts) if part in {"node_modules", "site-packages"}), default=-1)
    return "/".join(parts[above + 1 :]).removeprefix(name + "/")


def attribution(manifest: list[dict]) -> str:
    lines = [
        "# Attribution",
        "",
        "The model was trained on source text of the packages below, each under the licence it states.",
    ]
    lines += ["Packages marked *validation* were only used to measure it.", ""]
    lines += ["| package | version | from | licence | used for | bytes |", "|---|---|---|---|---|---|"]
    for entry in sorted(manifest, key=lambda entry: (entry["ecosystem"], entry["package"].lower())):
        use = "*validation*" if entry["split"] == "validation" else "training"
        cells = [entry[key] for key in ("package", "version", "ecosystem", "licence")] + [use, str(entry["bytes"])]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def readable(text: bytes) -> bool:
    """UTF-8 written by hand: no minified lines, no binary, no big share of non-ASCII or digits (tables)."""
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    lines = text.split(b"\n")
    if b"\0" in text or len(text) / len(lines) > 120 or max(map(len, lines)) > 1000:
        return False
    if b"sourceMappingURL=data" in text or b"@generated" in text[:500]:
        return False
    digits = sum(text.count(bytes([byte])) for byte in b"0123456789")
    return digits < 0.2 * len(text)


def is_new(text: bytes, seen: set[bytes]) -> bool:
    """False if more than half of the longer lines were in earlier files; remembers the lines otherwise."""
    lines = {
        hashlib.blake2b(line.strip(), digest_size=8).digest() for line in text.split(b"\n") if len(line.strip()) > 15
    }
    if not lines or len(lines & seen) > 0.5 * len(lines):
        return False
    seen |= lines
    return True


if __name__ == "__main__":
    main()
