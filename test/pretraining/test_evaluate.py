"""The evaluation's files, noises, sums and what it says when something is missing."""

import json
import random
from pathlib import Path

import pytest

from evaluate import NOISES, chosen_files, lines, rows_of, runtime_bits, write_files

CODE = "".join(f"const value{i} = compute({i});\n" for i in range(80)).encode()


def data(folder: Path) -> Path:
    listing = [["a", "src/x.ts", "TypeScript", len(CODE)], ["a", "src/y.ts", "TypeScript", len(CODE)]]
    listing += [["@s/b", "z.ts", "TypeScript", len(CODE)], ["b", "s.py", "Python", 20]]
    texts = [CODE, CODE[::-1], CODE, b"x = 1234567890 + 12\n"]
    (folder / "test.json").write_text(json.dumps(listing))
    (folder / "test.bin").write_bytes(b"".join(text + b"\xff" for text in texts))
    return folder / "test"


def test_one_file_a_package_and_language_and_none_too_short(tmp_path: Path) -> None:
    chosen = list(chosen_files(data(tmp_path), 5))
    assert sorted(language for language, _, _ in chosen) == ["TypeScript", "TypeScript"]
    assert {name.split("-")[0] for _, name, _ in chosen} == {"a", "s"}
    assert chosen == list(chosen_files(data(tmp_path), 5))
    assert len(list(chosen_files(data(tmp_path), 1))) == 1


def test_noise_changes_what_it_says() -> None:
    text = CODE.decode()
    found = {name: change(text, random.Random(1)) for name, change in NOISES.items()}
    assert 0.87 < len(found["dropped"]) / len(text) < 0.93
    assert found["random-case"].lower() == text.lower() and found["random-case"] != text
    assert 1.3 < len(found["repeated"]) / len(text) < 1.5
    assert found["dropped"] == NOISES["dropped"](text, random.Random(1))


def test_noised_files_lie_beside_the_clean_ones(tmp_path: Path) -> None:
    write_files(data(tmp_path), tmp_path / "out", 1, noise=True)
    names = {path.parent.name for path in (tmp_path / "out").glob("*/*")}
    assert names == {"clean", "dropped", "random-case", "repeated"}


def test_table() -> None:
    rows = iter([("A", 100, {"xz": 200.0, "bytes": 100.0}), ("A", 300, {"xz": 200.0, "bytes": 20.0}), ("B", 100, {"xz": 50.0, "bytes": 80.0})])
    assert list(lines(rows)) == [
        "| | files | bytes | xz | bytes |",
        "|---|---|---|---|---|",
        "| A | 2 | 400 | 1.000 | 0.300 |",
        "| B | 1 | 100 | 0.500 | 0.800 |",
        "| all | 3 | 500 | 0.900 | 0.400 |",
    ]
    with pytest.raises(SystemExit, match="no files to score"):
        list(lines(iter([])))


def test_the_runtimes_bits_are_found_by_folder_and_name(tmp_path: Path) -> None:
    path = tmp_path / "runtime.json"
    path.write_text(json.dumps({"files": [{"path": "/x/eval/Python/a-b.py", "bits": 12.5, "bytes": 9}]}))
    assert runtime_bits(path) == {"Python/a-b.py": 12.5}
    (tmp_path / "eval" / "Python").mkdir(parents=True)
    (tmp_path / "eval" / "Python" / "other.py").write_bytes(b"x = 1\n")
    golden = Path(__file__).parent.parent / "golden" / "lexicon" / "plain"
    with pytest.raises(SystemExit, match="has nothing of Python/other.py"):
        list(rows_of(tmp_path / "eval", path, golden, reference=False))


def test_rows_with_the_reference(tmp_path: Path) -> None:
    (tmp_path / "Python").mkdir()
    (tmp_path / "Python" / "a.py").write_bytes(b"co = const\n")
    golden = Path(__file__).parent.parent / "golden" / "lexicon" / "plain"
    [(name, size, bits)] = rows_of(tmp_path, None, golden, reference=True)
    assert (name, size) == ("Python", 11)
    assert set(bits) == {"xz", "PPMd", "tokens", "reference"}
    assert all(value > 0 for value in bits.values())


def test_the_plain_form_stands_in_the_same_table(tmp_path: Path) -> None:
    golden = Path(__file__).parent.parent / "golden"
    (tmp_path / "eval" / "TypeScript").mkdir(parents=True)
    (tmp_path / "eval" / "TypeScript" / "a.ts").write_bytes(b"const value = con(x);\n")
    [(_, _, bits)] = rows_of(tmp_path / "eval", None, golden / "lexicon" / "plain", False, golden / "k2")
    assert bits["plain"] > 0 and list(bits)[-2:] == ["plain", "plain, transformers"]
