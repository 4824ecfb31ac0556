"""The lexicon's pieces and the cut of a text into them: words of the pre-tokenizer, byte pair merges, open words.

A text is bytes. Its complete characters are scanned into *words* as the base's pre-tokenizer does; a byte that is
part of no valid UTF-8 is a word of its own; the first bytes of a character that is not complete yet belong to the
last word without moving it. docs/lexicon.md, sections 2 and 3, is the definition.
"""

import codecs
import json
from functools import lru_cache
from pathlib import Path

import regex

# Unicode White_Space, written out: the \s of Python, JavaScript and Rust differ at U+001C..1F, U+0085 and U+FEFF.
SPACE = r"\t-\r\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
# Single digits, then GPT-2's rule; a digit ends a run of white space as the end of the text does.
WORD = regex.compile(
    rf"'s|'t|'re|'ve|'m|'ll|'d|\p{{N}}| ?\p{{L}}+| ?[^{SPACE}\p{{L}}\p{{N}}]+"
    rf"|[{SPACE}]+(?![^{SPACE}\p{{N}}])|[{SPACE}]+"
)


class Lexicon:
    """Byte strings of the pieces, their merges, and which of them the readout may speak of.

    `special` pieces are never read out as bytes; `eos` is one of them and stands for the end of the document.
    """

    def __init__(self, pieces: list[bytes], merges: list[tuple[int, int, int]], special: set[int], bos: int, eos: int):
        """`pieces[i]` is empty for special pieces; `merges` are (left, right, whole) in order of rank."""
        self.pieces, self.special, self.bos, self.eos = pieces, special, bos, eos
        self.rank = {(left, right): (rank, whole) for rank, (left, right, whole) in enumerate(merges)}
        self.byte_piece = {piece[0]: i for i, piece in enumerate(pieces) if len(piece) == 1}
        self.merge = lru_cache(maxsize=100_000)(self._merge)

    def _merge(self, word: bytes) -> tuple[tuple[int, int], ...]:
        """(piece, offset) of a word: lowest rank first, leftmost first among equals.

        A byte with no piece of its own breaks the word and has no piece.
        """
        cut: list[tuple[int, int]] = []
        run: list[tuple[int, int]] = []
        for offset, byte in enumerate(word):
            if byte in self.byte_piece:
                run.append((self.byte_piece[byte], offset))
            else:
                cut += self._merge_run(run)
                run = []
        return tuple(cut + self._merge_run(run))

    def _merge_run(self, run: list[tuple[int, int]]) -> list[tuple[int, int]]:
        never = (len(self.rank), -1)
        while len(run) > 1:
            merges = [self.rank.get((left[0], right[0]), never) for left, right in zip(run, run[1:])]
            at = min(range(len(merges)), key=lambda i: merges[i][0])
            if merges[at] == never:
                break
            run[at : at + 2] = [(merges[at][1], run[at][1])]
        return run

    def cut(self, text: bytes) -> list[tuple[int, int]]:
        """(piece, offset) of a whole text; the bytes of an incomplete last character are words of their own."""
        words, tail = scan(text)
        words += [(at, at + 1) for at in range(tail, len(text))]
        return [(piece, start + at) for start, end in words for piece, at in self.merge(text[start:end])]


def scan(text: bytes) -> tuple[list[tuple[int, int]], int]:
    """Words (start, end) of the complete part of `text`, and where its incomplete last character starts."""
    words: list[tuple[int, int]] = []
    at = 0
    while at < len(text):
        try:
            part, used = codecs.utf_8_decode(text[at:], "strict", False)
            invalid = False
        except UnicodeDecodeError as error:
            part, used, invalid = text[at : at + error.start].decode(), error.start, True
        for match in WORD.finditer(part):
            end = at + len(match[0].encode())
            words.append((at, end))
            at = end
        if not invalid:
            return words, at
        words.append((at, at + 1))
        at += 1
    return words, at


class Words:
    """Words of a growing text: `append` a byte, `truncate`. `starts` are those of the complete part's words."""

    def __init__(self, text: bytes = b""):
        self.text = bytearray(text)
        self.starts: list[int] = [start for start, _ in scan(text)[0]]

    @property
    def open(self) -> int:
        """Start of the word that may still change; no later byte moves a word before it.

        That is the last word, with the incomplete character after it, or the last two where they may become one.
        """
        if len(self.starts) > 1 and bytes(self.text[self.starts[-2] :]) in (b"'r", b"'v", b"'l"):
            return self.starts[-2]
        return self.starts[-1] if self.starts else 0

    def append(self, byte: int) -> None:
        """A word is settled once the word after it has ended ("'" "r" + "e" -> "'re"): two words are scanned again."""
        self.text.append(byte)
        self._rescan(2)

    def truncate(self, length: int) -> None:
        """Up to three single bytes may become an incomplete character again: five words are scanned again."""
        del self.text[length:]
        while self.starts and self.starts[-1] >= length:
            self.starts.pop()
        self._rescan(5)

    def _rescan(self, words: int) -> None:
        start = self.starts[-words] if len(self.starts) >= words else 0
        del self.starts[-words:]
        self.starts += [start + word for word, _ in scan(bytes(self.text[start:]))[0]]


def load_lexicon(folder: Path) -> Lexicon:
    """The lexicon of a checkpoint: tokenizer.json (byte-level BPE) and `lexicon_config`."""
    config = json.loads((folder / "config.json").read_text())["lexicon_config"]
    model = json.loads((folder / config["tokenizer_file"]).read_text())["model"]
    byte_of = {symbol: byte for byte, symbol in byte_symbols().items()}
    special = set(config["special_pieces"])
    pieces = [b""] * len(model["vocab"])
    if len(pieces) != config["vocab_size"]:
        raise ValueError(f"{folder}: {len(pieces)} pieces in the tokenizer, {config['vocab_size']} in config.json")
    for symbols, piece in model["vocab"].items():
        if piece not in special:
            pieces[piece] = bytes(byte_of[symbol] for symbol in symbols)
    merges = []
    for merge in model["merges"]:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        merges.append((model["vocab"][left], model["vocab"][right], model["vocab"][left + right]))
    return Lexicon(pieces, merges, special, config["bos_piece"], config["eos_piece"])


def byte_symbols() -> dict[int, str]:
    """GPT-2's printable stand-in for each byte: itself where printable in Latin-1, else U+0100 upwards in order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    symbols = {byte: chr(byte) for byte in printable}
    return symbols | {byte: chr(256 + i) for i, byte in enumerate(b for b in range(256) if b not in symbols)}
