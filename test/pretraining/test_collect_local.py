"""What is collected, from whom, and how it is split."""

import importlib.metadata
import json
from pathlib import Path

import pytest

from collect_local import (
    EXCLUDED,
    Package,
    is_new,
    npm_packages,
    permissive,
    python_packages,
    readable,
    split_of,
    write,
)
from train_plain import read_ids


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("ISC", True),
        ("(MIT OR GPL-3.0-only)", True),
        ("MIT AND Apache-2.0", True),
        ("MIT AND MPL-2.0", False),
        ("MPL-2.0", False),
        ("Apache-2.0 WITH LLVM-exception", False),
        ("UNLICENSED", False),
        ("", False),
    ],
)
def test_permissive(licence: str, allowed: bool) -> None:
    assert permissive(licence) is allowed


@pytest.mark.parametrize(
    ("name", "excluded"),
    [
        ("jax-js", True),
        ("@jax-js/jax", True),
        ("vscode-languageserver", True),
        ("vscode-languageserver-textdocument", True),
        ("vscode-languageclient", True),
        ("node-llama-cpp", True),
        ("nanochat", True),
        ("twinny", True),
        ("biome-vscode", True),
        ("jax", False),
        ("vscode-uri", False),
    ],
)
def test_excluded(name: str, excluded: bool) -> None:
    assert bool(EXCLUDED.match(name)) is excluded


def test_npm_packages(tmp_path: Path) -> None:
    """Scoped and nested packages are found; other licences, excluded projects and vendored folders are not."""
    modules = tmp_path / "node_modules"
    add(modules / "plain", "plain", "MIT", {"index.js": SOURCE, "vendor/other.js": SOURCE, "a.min.js": SOURCE})
    add(modules / "@scope" / "inner", "@scope/inner", "ISC", {"src/a.ts": SOURCE})
    add(modules / "plain" / "node_modules" / "nested", "nested", "Apache-2.0", {"a.js": SOURCE})
    add(modules / "copyleft", "copyleft", "GPL-3.0-only", {"a.js": SOURCE})
    add(modules / "twinny", "twinny", "MIT", {"a.js": SOURCE})
    found = {package.name: [file.name for file in package.files] for package in npm_packages(modules)}
    assert found == {"plain": ["index.js"], "@scope/inner": ["a.ts"], "nested": ["a.js"]}


def test_python_packages() -> None:
    """pytest (MIT) is installed wherever this runs; everything taken states a permissive licence."""
    found = {package.name: package for package in python_packages()}
    assert found["pytest"].version == importlib.metadata.version("pytest")
    assert any(file.name == "runner.py" for file in found["pytest"].files)
    assert all(permissive(package.licence) for package in found.values())


def test_write(tmp_path: Path) -> None:
    """Documents, listings and attribution agree, and no package is on both sides."""
    packages = []
    for i in range(40):
        text = "".join(f"export const value{i}_{line} = compute({i}, other);\n" for line in range(8))
        add(tmp_path / f"p{i}", f"p{i}", "MIT", {"a.js": text})
        packages.append(Package(f"p{i}", "1.0.0", "MIT", "npm", [tmp_path / f"p{i}" / "a.js"]))
    manifest = write(packages, tmp_path / "out", 10_000, 0.25)
    sides = {
        split: {entry["package"] for entry in manifest if entry["split"] == split} for split in ("train", "validation")
    }
    assert len(sides["train"]) + len(sides["validation"]) == 40
    assert min(map(len, sides.values())) > 0
    for split, names in sides.items():
        texts = (tmp_path / "out" / f"{split}.bin").read_bytes().split(b"\xff")
        assert texts.pop() == b""
        listing = json.loads((tmp_path / "out" / f"{split}.json").read_text())
        assert {name for name, _, _ in listing} == names
        assert [size for _, _, size in listing] == [len(text) for text in texts]
        assert len(read_ids([tmp_path / "out" / f"{split}.bin"])) == sum(len(text) + 2 for text in texts)
    attribution = (tmp_path / "out" / "ATTRIBUTION.md").read_text()
    assert attribution.count("| npm | MIT |") == 40


def test_split_is_stable() -> None:
    package = Package("pytest", "1", "MIT", "pypi", [])
    assert split_of(package, 0.08) == "validation"
    assert split_of(Package("pytest", "2", "MIT", "pypi", []), 0.08) == "validation"
    assert split_of(package, 0.0) == "train"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (b"def f(x):\n    return x + 1\n", True),
        ("naïve = 'é'\n".encode(), True),
        (b"\xff\xfe", False),
        (b"a\0b\n", False),
        (b"x" * 500, False),
        (b"1234567890 12345\n" * 9, False),
    ],
)
def test_readable(text: bytes, kept: bool) -> None:
    assert readable(text) is kept


def test_near_duplicates_are_dropped() -> None:
    lines = [f"some longer line number {i}\n".encode() for i in range(10)]
    seen: set[bytes] = set()
    assert is_new(b"".join(lines), seen)
    assert not is_new(b"".join(lines[3:]) + b"and one line more than that\n", seen)
    assert is_new(b"".join(lines[:2]) + b"\n".join(b"quite another text, line %d" % i for i in range(6)), seen)


SOURCE = "".join(f"export function name{i}(argument) {{ return argument + {i}; }}\n" for i in range(9))


def add(folder: Path, name: str, licence: str, files: dict[str, str]) -> None:
    folder.mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"name": name, "version": "1.0.0", "license": licence}))
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
