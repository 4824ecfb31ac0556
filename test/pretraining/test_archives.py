"""Packages are found, read and named when they are missing or damaged."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

import archives
from archives import Package, PreparationError, fetch, find, read_list, texts

CODE = b"export const value = 1;\n" * 20


def test_read_list(tmp_path: Path) -> None:
    path = tmp_path / "packages.tsv"
    path.write_text("# a comment\nnpm\t@a/b\t1.0.0\ta\npypi\tc\t2\tc\n")
    assert read_list(path) == [Package("npm", "@a/b", "1.0.0", "a"), Package("pypi", "c", "2", "c")]
    path.write_text("npm\tvscode-languageserver\t9.0.1\tx\n")
    with pytest.raises(PreparationError, match=r"packages\.tsv:1: vscode-languageserver is kept for measurements"):
        read_list(path)
    path.write_text("cargo\ta\t1\ta\n")
    with pytest.raises(PreparationError, match=r"packages\.tsv:1: want ecosystem"):
        read_list(path)


def test_the_committed_list_is_well_formed() -> None:
    packages = read_list(Path(archives.__file__).parent / "packages.tsv")
    assert len(packages) > 300
    assert len({(package.ecosystem, package.name) for package in packages}) == len(packages)


def test_npm(tmp_path: Path) -> None:
    package = Package("npm", "@a/b", "1.0.0", "a")
    files = {"package/src/x.ts": CODE, "package/logo.png": CODE, "package/vendor/y.ts": CODE}
    tar(tmp_path / "npm" / "a-b-1.0.0.tgz", files | {"package/package.json": json.dumps({"license": "MIT"}).encode()})
    assert texts(package, find(package, tmp_path / "npm")) == ("MIT", [("src/x.ts", CODE)])
    tar(tmp_path / "npm" / "a-b-1.0.0.tgz", files | {"package/package.json": b'{"license": "GPL-3.0"}'})
    assert texts(package, find(package, tmp_path / "npm")) == ("", [])


def test_pypi(tmp_path: Path) -> None:
    package = Package("pypi", "some-name", "1.2", "some-name")
    with zipfile.ZipFile(tmp_path / "Some_Name-1.2-py3-none-any.whl", "w") as archive:
        archive.writestr("some_name/x.py", CODE)
        archive.writestr("some_name-1.2.dist-info/METADATA", "Name: some-name\nLicense-Expression: Apache-2.0\n")
    assert texts(package, find(package, tmp_path)) == ("Apache-2.0", [("some_name/x.py", CODE)])


def test_debian_takes_files_of_permissive_stanzas(tmp_path: Path) -> None:
    package = Package("debian", "thing", "1:1.0-2", "thing")
    (tmp_path / "thing_1.0-2.dsc").write_text(
        "Format: 3.0 (quilt)\nSource: thing\nFiles:\n aa 1 thing_1.0.orig.tar.gz\n bb 2 thing_1.0-2.debian.tar.xz\n"
    )
    assert find(package, tmp_path) == []
    tar(tmp_path / "thing_1.0.orig.tar.gz", {"thing-1.0/src/x.c": CODE, "thing-1.0/gpl/y.c": CODE})
    copyright = b"Format: x\n\nFiles: *\nLicense: Expat\n\nFiles: gpl/*\nLicense: GPL-2\n"
    tar(tmp_path / "thing_1.0-2.debian.tar.xz", {"debian/copyright": copyright, "debian/rules.py": CODE})
    assert texts(package, find(package, tmp_path)) == ("Expat", [("src/x.c", CODE)])


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(archives.FETCH, "npm", lambda package: ["sh", "-c", "echo 404 Not Found >&2; exit 1"])
    with pytest.raises(PreparationError, match=r"npm gone 1\.0\.0 is not to be had \(404 Not Found\); .* --skip-missing"):
        fetch(Package("npm", "gone", "1.0.0", "gone"), tmp_path)


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    package = Package("npm", "a", "1.0.0", "a")
    (tmp_path / "a-1.0.0.tgz").write_bytes(b"not an archive")
    with pytest.raises(PreparationError, match=r"npm a 1\.0\.0: a-1\.0\.0\.tgz cannot be read .* delete it"):
        texts(package, find(package, tmp_path))


def tar(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w:xz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
