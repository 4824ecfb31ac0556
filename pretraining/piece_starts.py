"""Where the pieces of the lexicon start in the training text, for a patcher whose entropy is taught to rise there.

    python pretraining/piece_starts.py models/default .cache/data/train.bin .cache/data/train.starts

A piece's leading space counts to the piece before it (`return ` + `x `): patches start after spaces, pieces with them.
The output has one bit an id of the stream that `text_stream.read_ids` makes of the .bin file.
"""

import argparse
from pathlib import Path

import numpy
from tokenizers import Tokenizer, pre_tokenizers

from pieces import Lexicon

SEPARATOR = b"\xff"


def shifted_starts(lexicon: Lexicon, text: bytes) -> numpy.ndarray:
    """[n + 1] booleans: whether a patch may start at each byte; the last entry is the place after the text."""
    starts = numpy.zeros(len(text) + 2, dtype=bool)
    for piece, start in lexicon.cut(text):
        spelt = lexicon.pieces[piece]
        starts[start + (1 if len(spelt) > 1 and spelt[:1] == b" " else 0)] = True
    return starts[: len(text) + 1]


def fast_starts(tokenizer: Tokenizer, text: bytes) -> numpy.ndarray:
    """`shifted_starts` of a text that is valid UTF-8, by the tokenizers library."""
    starts = numpy.zeros(len(text) + 1, dtype=bool)
    string = text.decode()
    at = 0
    for token in tokenizer.encode(string, add_special_tokens=False).tokens:
        starts[at + (1 if len(token) > 1 and token[0] == "Ġ" else 0)] = True
        at += len(token)  # byte-level BPE: one character a byte
    return starts


def load_tokenizer(folder: Path) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    tokenizer = load_tokenizer(args.checkpoint)
    parts = []
    for text in args.data.read_bytes().split(SEPARATOR)[:-1]:
        # BOS, the bytes, and EOS, which starts a patch of its own.
        parts += [numpy.zeros(1, dtype=bool), fast_starts(tokenizer, text)[: len(text)], numpy.ones(1, dtype=bool)]
    starts = numpy.concatenate(parts)
    args.out.write_bytes(numpy.packbits(starts).tobytes())
    print(f"{len(starts)} ids, {len(starts) / starts.sum():.2f} a piece")


if __name__ == "__main__":
    main()
