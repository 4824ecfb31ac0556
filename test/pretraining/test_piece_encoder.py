import torch
from byte_places import PieceBytes
from config import BltConfig, StackConfig
from model import EOS
from piece_encoder import PieceEncoder, bytes_of_rows

TABLE = PieceBytes(torch.tensor([[EOS, 1, 0], [10, 0, 0], [20, 21, 0], [30, 31, 32]]), torch.tensor([2, 1, 2, 3]))
CONFIG = BltConfig(None, StackConfig(16, 1, 2, 2, 32, window=8), StackConfig(32, 1, 2, 2, 64), StackConfig(16, 1, 2, 2, 32), hash_vocab=64)


def test_bytes_of_rows() -> None:
    ids, own, whole = bytes_of_rows(torch.tensor([[0, 3, 1, 2], [1, 1, 1, 0]]), TABLE, 6)
    assert ids.tolist() == [[EOS, 1, 30, 31, 32, 10], [10, 10, 10, EOS, 1, EOS]]
    assert own[0].tolist() == [0, 0, 1, 1, 1, 2] and own[1, :5].tolist() == [0, 1, 2, 3, 3]
    assert whole.tolist() == [[True, True, True, False], [True] * 4]


def test_it_begins_by_adding_nothing() -> None:
    encoder = PieceEncoder(CONFIG)
    ids, own, _ = bytes_of_rows(torch.tensor([[0, 3, 1, 2]]), TABLE, 8)
    assert not encoder(ids, own, 4).any()


def test_a_later_byte_changes_no_earlier_piece() -> None:
    torch.manual_seed(1)
    encoder = PieceEncoder(CONFIG)
    for parameter in (encoder.out_proj.weight, encoder.hash_embedding.weight):
        torch.nn.init.normal_(parameter)
    rows = torch.tensor([[0, 3, 1, 2], [0, 3, 1, 3]])
    ids, own, _ = bytes_of_rows(rows, TABLE, 8)
    added = encoder(ids, own, 4)
    assert added.shape == (2, 4, 32)
    assert torch.equal(added[0, :3], added[1, :3]) and not torch.allclose(added[0, 3], added[1, 3])
