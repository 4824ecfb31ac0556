"""The cut into pieces against the tokenizers library, and growing texts against whole ones."""

import random
from pathlib import Path

import pytest
from golden_lexicon import write_checkpoint
from pieces import Lexicon, Words, load_lexicon, scan
from tokenizers import Tokenizer

PARTS = ["'", "r", "re", "s", "l", "ve", " ", "  ", "\n", "\t", "\r\n", "a", "é", "你好", "5", "½", "\u3000", "(", "“", "\xa0", "😀", "\x1f"]
BROKEN = [b"\xe4", b"\xe4\xbd", b"\xff", b"\xc3", b"\x80", b"\xf0\x9f", b"\xed\xa0"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    write_checkpoint(folder, "plain")
    return folder


def samples(count: int, broken: float) -> list[bytes]:
    generator = random.Random(5)
    texts = []
    for _ in range(count):
        parts = [part.encode() for part in generator.choices(PARTS, k=generator.randint(1, 12))]
        if generator.random() < broken:
            parts.insert(generator.randrange(len(parts)), generator.choice(BROKEN))
        texts.append(b"".join(parts))
    return texts


def test_cut_is_the_tokenizers(tiny: Path) -> None:
    lexicon, tokenizer = load_lexicon(tiny), Tokenizer.from_file(str(tiny / "tokenizer.json"))
    known = {byte for piece in lexicon.pieces for byte in piece}
    compared = 0
    for text in [*samples(3000, 0), b"const value = con(x);\n    return  value\n\nlet's naive 42"]:
        if set(text) <= known:
            compared += 1
            assert [piece for piece, _ in lexicon.cut(text)] == tokenizer.encode(text.decode()).ids, text
    assert compared > 100


def test_growing_and_truncated_words_are_those_of_a_fresh_scan() -> None:
    for text in samples(3000, 0.4):
        words = Words()
        for length, byte in enumerate(text, 1):
            words.append(byte)
            assert words.starts == [start for start, _ in scan(text[:length])[0]], text[:length]
        words.truncate(len(text) // 2)
        assert words.starts == [start for start, _ in scan(text[: len(text) // 2])[0]], text


def test_the_open_word_starts_where_a_word_of_the_whole_text_starts() -> None:
    for text in samples(3000, 0.4):
        complete, tail = scan(text)
        starts = {start for start, _ in complete} | {0, tail}
        words, before = Words(), 0
        for byte in text:
            words.append(byte)
            assert words.open in starts and words.open >= before, text
            before = words.open


def test_a_byte_without_a_piece_breaks_the_word() -> None:
    lexicon = Lexicon([b"", b"a", b"b", b"ab"], [(1, 2, 3)], {0}, bos=0, eos=0)
    assert lexicon.cut(b"ab") == [(3, 0)]
    assert lexicon.cut(b"a\x04b") == [(1, 0), (2, 2)]
    assert lexicon.cut(b"\xe4ab") == [(3, 1)]


def test_merges_take_the_lowest_rank_then_the_leftmost() -> None:
    pieces = [b"", b"a", b"b", b"aa", b"ab"]
    assert Lexicon(pieces, [(1, 1, 3), (1, 2, 4)], {0}, 0, 0).cut(b"aaab") == [(3, 0), (4, 2)]
    assert Lexicon(pieces, [(1, 2, 4), (1, 1, 3)], {0}, 0, 0).cut(b"aaab") == [(3, 0), (4, 2)]
    assert Lexicon(pieces, [(1, 1, 3)], {0}, 0, 0).cut(b"aaa") == [(3, 0), (1, 2)]
