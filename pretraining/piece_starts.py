"""Where the pieces of the lexicon start in a text, for a patcher whose entropy is taught to rise there.

A piece's leading space counts to the piece before it (`return ` + `x `): patches start after spaces, pieces with them.
"""

import numpy

from pieces import Lexicon


def shifted_starts(lexicon: Lexicon, text: bytes) -> numpy.ndarray:
    """[n + 1] booleans: whether a patch may start at each byte; the last entry is the place after the text."""
    starts = numpy.zeros(len(text) + 2, dtype=bool)
    for piece, start in lexicon.cut(text):
        spelt = lexicon.pieces[piece]
        starts[start + (1 if len(spelt) > 1 and spelt[:1] == b" " else 0)] = True
    return starts[: len(text) + 1]
