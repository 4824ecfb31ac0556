"""Packages by name and version from npm, PyPI and Debian, through the registries' own clients, and their texts.

A list of packages (`packages.tsv`) has a line `ecosystem, name, version, project` for each, tabs between; packages of
one project are never split between training and test. Archives are kept below DOWNLOADS/<ecosystem>.
"""

import json
import re
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cleaning import EXCLUDED, LARGEST, wanted
from licences import DebianCopyright, npm_licence, permissive, python_licence


class PreparationError(Exception):
    """Data cannot be prepared; the message says which package or file and what to do."""


@dataclass(frozen=True)
class Package:
    ecosystem: str
    name: str
    version: str
    project: str

    @property
    def label(self) -> str:
        return f"{self.ecosystem} {self.name} {self.version}"


def read_list(path: Path) -> list[Package]:
    """The pinned packages; excluded projects in it are an error."""
    packages = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != 4 or fields[0] not in FETCH:
            raise PreparationError(f"{path}:{number}: want ecosystem, name, version, project with tabs, not {line!r}")
        package = Package(*fields)
        if EXCLUDED.match(package.name) or EXCLUDED.match(package.project):
            raise PreparationError(f"{path}:{number}: {package.name} is kept for measurements, remove it")
        packages.append(package)
    return packages


def fetch(package: Package, downloads: Path) -> list[Path]:
    """The archives of a package, downloaded if they are not there."""
    folder = downloads / package.ecosystem
    folder.mkdir(parents=True, exist_ok=True)
    found = find(package, folder)
    if found:
        return found
    command = FETCH[package.ecosystem](package)
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    found = find(package, folder)
    if run.returncode or not found:
        said = (run.stderr or run.stdout).strip().splitlines()[-1:] or ["nothing said"]
        raise PreparationError(
            f"{package.label} is not to be had ({said[0]}); correct its line or pass --skip-missing to leave it out"
        )
    return found


# Debian's source index is the user's business: deb-src lines in the system's sources, or APT_CONFIG naming others.
FETCH = {
    "npm": lambda p: ["npm", "pack", "--silent", "--ignore-scripts", f"{p.name}@{p.version}"],
    "pypi": lambda p: ["pip", "download", "-q", "--no-deps", "--only-binary=:all:", f"{p.name}=={p.version}"],
    "debian": lambda p: ["apt-get", "-qq", "source", "--download-only", f"{p.name}={p.version}"],
}


def find(package: Package, folder: Path) -> list[Path]:
    """A package's archives in a folder of downloads; none unless it is complete."""
    if package.ecosystem == "npm":
        path = folder / f"{package.name.removeprefix('@').replace('/', '-')}-{package.version}.tgz"
        return [path] if path.exists() else []
    if package.ecosystem == "pypi":
        stem = re.escape(package.name).replace(r"\-", "[-_.]")
        pattern = re.compile(rf"{stem}-{re.escape(package.version)}-.*\.whl", re.IGNORECASE)
        return sorted(path for path in folder.glob("*.whl") if pattern.fullmatch(path.name))[:1]
    version = package.version.split(":")[-1]
    dsc = folder / f"{package.name}_{version}.dsc"
    if not dsc.exists():
        return []
    section = re.search(r"^Files:\s*\n((?: .*\n)+)", dsc.read_text(errors="replace"), re.MULTILINE)
    names = [line.split()[-1] for line in section.group(1).splitlines()] if section else []
    paths = [folder / name for name in names if not name.endswith(".asc")]
    return paths if paths and all(path.exists() for path in paths) else []


def texts(package: Package, archives: list[Path]) -> tuple[str, list[tuple[str, bytes]]]:
    """Licence, and (path, bytes) of the files that may be source text; ("", []) where the licence does not allow it."""
    try:
        return READ[package.ecosystem](archives)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        names = ", ".join(path.name for path in archives)
        raise PreparationError(f"{package.label}: {names} cannot be read ({error}); delete it and run again") from error


def _npm(archives: list[Path]) -> tuple[str, list[tuple[str, bytes]]]:
    files = list(_tar_members(archives[0], extra="package.json"))
    manifest = next((json.loads(data) for path, data in files if path == "package.json"), {})
    licence = npm_licence(manifest)
    return (licence, [file for file in files if file[0] != "package.json"]) if permissive(licence) else ("", [])


def _pypi(archives: list[Path]) -> tuple[str, list[tuple[str, bytes]]]:
    with zipfile.ZipFile(archives[0]) as archive:
        metadata = next((name for name in archive.namelist() if name.endswith(".dist-info/METADATA")), None)
        licence = python_licence(archive.read(metadata).decode("utf-8", "replace")) if metadata else ""
        if not permissive(licence):
            return "", []
        chosen = [info for info in archive.infolist() if wanted(info.filename, info.file_size)]
        return licence, [(info.filename, archive.read(info)) for info in chosen if ".dist-info/" not in info.filename]


def _debian(archives: list[Path]) -> tuple[str, list[tuple[str, bytes]]]:
    packaging = [path for path in archives if ".debian.tar." in path.name]
    sources = [path for path in archives if ".tar." in path.name and path not in packaging and "vendor" not in path.name]
    # A package of Debian's own has both in one archive.
    copyright_text = next(
        (data for path in packaging or sources for name, data in _tar_members(path, extra="debian/copyright", only=True)),
        b"",
    )
    copyright = DebianCopyright(copyright_text.decode("utf-8", "replace"))
    if not permissive(copyright.main):
        return "", []
    files = [file for path in sources for file in _tar_members(path)]
    return copyright.main, [(path, data) for path, data in files if permissive(copyright.licence_of(path))]


READ = {"npm": _npm, "pypi": _pypi, "debian": _debian}


def _tar_members(path: Path, extra: str = "", only: bool = False) -> Iterator[tuple[str, bytes]]:
    """(path below the archive's top folder, bytes) of the wanted files and of `extra`."""
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            if not member.isfile():
                continue
            full = member.name.removeprefix("./")
            inner = full if full == extra else full.split("/", 1)[-1]
            if inner == extra and member.size < 10 * LARGEST:
                yield inner, archive.extractfile(member).read()
                if only:
                    return
            elif not only and wanted(inner, member.size):
                yield inner, archive.extractfile(member).read()
