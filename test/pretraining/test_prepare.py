"""Text prepared from a list of packages: split by project, without near-duplicates, the same every time."""

import argparse
import json
from pathlib import Path

import pytest

import prepare
from archives import PreparationError
from prepare import SEPARATOR, split_of
from test_archives import tar

PROJECTS = {split: next(f"p{i}" for i in range(1000) if split_of(f"p{i}") == split) for split in prepare.SPLITS}


def code(seed: int) -> bytes:
    return b"".join(b"const name%d = call%d(%d, other);\n" % (i * seed, i + seed, i) for i in range(40))


def test_prepare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = arguments(tmp_path, {"test": {"a": code(1)}, "train": {"a": code(1), "b": code(7)}, "validation": {"c": code(9)}})
    prepare.prepare(args)
    assert (args.out / "test.bin").read_bytes() == code(1) + SEPARATOR
    # What test and train share is judged and not trained on.
    assert (args.out / "train.bin").read_bytes() == code(7) + SEPARATOR
    assert json.loads((args.out / "train.json").read_text()) == [[PROJECTS["train"], "src/b.ts", "TypeScript", len(code(7))]]
    assert f"| {PROJECTS['test']} | 1.0.0 | npm | MIT | *test* | {len(code(1))} |" in (args.out / "ATTRIBUTION.md").read_text()
    assert "train: 0.0 MB, 1 files, 1 projects" in capsys.readouterr().out
    first = {path.name: path.read_bytes() for path in args.out.glob("*.bin")}
    prepare.prepare(args)
    assert {path.name: path.read_bytes() for path in args.out.glob("*.bin")} == first


def test_near_duplicates_are_dropped(tmp_path: Path) -> None:
    changed = code(3).replace(b"call20", b"another", 1)
    args = arguments(tmp_path, {"train": {"a": code(3), "b": changed}, "test": {"c": code(5)}, "validation": {}})
    prepare.prepare(args)
    assert (args.out / "train.bin").read_bytes().count(SEPARATOR) == 1


def test_a_damaged_cache_is_named(tmp_path: Path) -> None:
    args = arguments(tmp_path, {"train": {"a": code(3)}, "test": {"c": code(5)}, "validation": {"b": code(9)}})
    prepare.prepare(args)
    stored = next((args.out / "extracted").glob(f"npm-{PROJECTS['train']}-*.json"))
    whole = stored.read_bytes()
    # Other letters, cut off, and bytes that are no text.
    for damaged in (whole.replace(b"const", b"conts", 1), whole[: len(whole) // 2], whole.replace(b"const", b"\xff\xfe\xff\xfe\xff", 1), b""):
        stored.write_bytes(damaged)
        with pytest.raises(PreparationError, match=rf"{stored.name} is damaged; delete it"):
            prepare.prepare(args)


def test_a_missing_package_stops_or_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = arguments(tmp_path, {"train": {"a": code(3)}, "test": {"c": code(5)}, "validation": {"b": code(9)}})
    with args.list.open("a") as file:
        file.write("npm\tgone\t1.0.0\tgone\n")
    with pytest.raises(PreparationError, match=r"npm gone 1\.0\.0 is not downloaded"):
        prepare.prepare(args)
    args.skip_missing = True
    prepare.prepare(args)
    assert "left out: npm gone 1.0.0" in capsys.readouterr().err


def test_measured_projects_are_never_trained_on() -> None:
    assert {split_of(project) for project in prepare.ALWAYS_VALIDATION} == {"validation"}


def arguments(folder: Path, projects: dict[str, dict[str, bytes]]) -> argparse.Namespace:
    """A list and downloads with one npm package a split."""
    lines = []
    for split, files in projects.items():
        name = PROJECTS[split]
        lines.append(f"npm\t{name}\t1.0.0\t{name}\n")
        members = {f"package/src/{file}.ts": text for file, text in files.items()}
        tar_path = folder / "downloads" / "npm" / f"{name}-1.0.0.tgz"
        tar_path.parent.mkdir(parents=True, exist_ok=True)
        tar(tar_path, members | {"package/package.json": b'{"license": "MIT"}'})
    (folder / "packages.tsv").write_text("".join(lines))
    return argparse.Namespace(
        list=folder / "packages.tsv",
        out=folder / "data",
        downloads=folder / "downloads",
        package_bytes=100_000,
        held_out_bytes=100_000,
        workers=1,
        connections=2,
        skip_missing=False,
        offline=True,
    )
