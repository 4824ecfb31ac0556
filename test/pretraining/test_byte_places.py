"""Rows of pieces as ids, and the latent of each place, against plain loops."""

from pathlib import Path

import torch

from byte_places import BytePlaces, PieceBytes
from lexicon_fixture import tiny_model
from model import BOS, EOS
from pieces import load_lexicon

TEXTS = [b"const value = con(x);\n    return value\n", b"let's return const(value) == 7\n\n    return con\n"]


def test_against_loops(tmp_path: Path) -> None:
    lexicon = load_lexicon(tiny_model(tmp_path))
    cuts = [[piece for piece, _ in lexicon.cut(text)] for text in TEXTS]
    row = [*cuts[0][3:], lexicon.bos, *cuts[1], lexicon.bos, *cuts[0]]
    rows = torch.tensor([row, row[::-1]])
    length = 120
    places = BytePlaces.of(rows, PieceBytes.of(lexicon), length)
    for b, pieces in enumerate(rows.tolist()):
        strings = [[EOS, BOS] if p == lexicon.bos else [byte + 4 for byte in lexicon.pieces[p]] for p in pieces]
        ids = [each for string in strings for each in string][:length]
        assert places.ids[b, : len(ids)].tolist() == ids
        ends = [sum(map(len, strings[: i + 1])) for i in range(len(strings))]
        for at in range(min(len(ids), length) - 1):
            own = next(i for i, end in enumerate(ends) if end > at + 1)
            assert (places.target[b, at], places.own[b, at]) == (ids[at + 1], own)
            assert places.counts[b, at] == (ids[at + 1] != BOS)
            if own == 0:
                continue
            for lag in (0, 1, 3):
                latent, since = places.latent_of(lag)
                first = max((i for i in range(own) if pieces[i] == lexicon.bos), default=0)
                assert latent[b, at] == max(own - 1 - lag, first)
                assert since[b, at] == at + 1 - ends[max(own - 1 - lag, first)]
        assert not places.counts[b, len(ids) - 1 :].any()
