import json
import random
import sys
from pathlib import Path

import completion_rows
import numpy
import pytest
from completion_rows import END, PATH, PREFIX, SUFFIX, File, completion, parts_of
from pieces import load_lexicon

MODEL = Path(__file__).parents[2] / "models/default"
TEXT = "".join(f"def add_{i}(left, right):\n    return left + right + {i}\n\n\n" for i in range(40))


def test_a_completion_is_a_place_in_its_file() -> None:
    chance = random.Random(4)
    file = File("maths", "src/lib/deep/add.py", "Python", TEXT)
    parts = parts_of([file, File("maths", "src/other.py", "Python", TEXT.replace("add", "sum"))], chance)
    kinds = set()
    for _ in range(200):
        made = completion(file, parts, chance)
        before, missing = made.text[: made.missing], made.text[made.missing :]
        start, end = made.suffix
        suffix, far = made.text[start:end], before[:start]
        window = (far.split(PREFIX)[1] if PATH in far else "") + before[end:]
        assert window[0 if PATH in far or suffix else start :] + missing in TEXT or "sum" in far
        if suffix:
            assert suffix[0] == SUFFIX and suffix[-1] == PREFIX and len(suffix) <= 802
            assert missing + suffix[1:-1] in TEXT
        kinds.add((PATH in before, bool(suffix), "sum" in far, "\n" in missing))
    assert len(kinds) > 8
    assert any("lib/deep/add.py" in completion(file, [], chance).text for _ in range(20))


def test_rows_hold_whole_texts_between_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [TEXT, TEXT.replace("left", "east").replace("right", "west")] * 3
    listing = [["maths" if i % 2 else "more", f"add{i}.py", "Python", len(text)] for i, text in enumerate(texts)]
    (tmp_path / "train.json").write_text(json.dumps(listing))
    (tmp_path / "train.bin").write_bytes(b"".join(text.encode() + b"\xff" for text in texts))
    monkeypatch.setattr(completion_rows, "LENGTH", 256)
    arguments = [str(MODEL), str(tmp_path / "train"), str(tmp_path / "rows"), "--completions", "5"]
    monkeypatch.setattr(sys, "argv", ["completion_rows.py", *arguments, "--processes", "1"])
    completion_rows.main()
    rows = numpy.load(tmp_path / "rows.npy")
    assert rows.shape[1] == 256 and len(rows) >= 10 and (rows == END).any()
    held = numpy.load(tmp_path / "rows-completions.npz")
    pieces = load_lexicon(MODEL).pieces
    for name in ("with", "without"):
        for ids, (first, end) in zip(held["with_suffix" if name == "with" else "without"], held[f"{name}_missing"]):
            assert ids[end - 1] == END and first < end
            text = b"".join(pieces[i] for i in ids[first : end - 1])
            assert text.decode() in TEXT or text.decode() in texts[1]
            assert (SUFFIX.encode() in b"".join(pieces[i] for i in ids)) == (name == "with")
