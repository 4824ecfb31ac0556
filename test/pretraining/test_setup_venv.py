"""setup-venv.sh says what is missing, and does nothing when the environment is up to date."""

import hashlib
import shutil
import subprocess
from pathlib import Path

PRETRAINING = Path(__file__).parent.parent.parent / "pretraining"


def test_up_to_date(tmp_path: Path) -> None:
    """Run from another folder, with a stand-in interpreter that fails if anything is installed."""
    root = copy(tmp_path)
    wanted = hashlib.sha256((root / "pretraining" / "requirements.txt").read_bytes()).hexdigest()
    (root / ".cache" / "venv" / "requirements.sha256").write_text(wanted + "\n")
    assert run(root).returncode == 0


def test_changed_requirements_are_installed(tmp_path: Path) -> None:
    """The mark is written only after a successful installation."""
    root = copy(tmp_path)
    (root / ".cache" / "venv" / "requirements.sha256").write_text("another\n")
    assert run(root).returncode != 0
    interpreter(root, "exit 0")
    assert run(root).returncode == 0
    interpreter(root, "exit 1")
    assert run(root).returncode == 0


def test_missing_python_is_named(tmp_path: Path) -> None:
    root = copy(tmp_path)
    shutil.rmtree(root / ".cache")
    done = run(root, PYTHON="no-such-python")
    assert done.returncode == 2
    assert "no-such-python is missing" in done.stderr


def copy(folder: Path) -> Path:
    root = folder / "a folder with spaces"
    (root / "pretraining").mkdir(parents=True)
    for name in ("setup-venv.sh", "requirements.txt"):
        shutil.copy(PRETRAINING / name, root / "pretraining" / name)
    interpreter(root, "exit 1")
    return root


def interpreter(root: Path, body: str) -> None:
    python = root / ".cache" / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text(f"#!/bin/sh\n{body}\n")
    python.chmod(0o755)


def run(root: Path, **environment: str) -> subprocess.CompletedProcess:
    script = root / "pretraining" / "setup-venv.sh"
    return subprocess.run(
        [script], cwd="/", env={"PATH": "/usr/bin:/bin"} | environment, capture_output=True, text=True
    )
