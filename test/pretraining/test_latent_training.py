import torch
from latent_reference import LatentCache, LatentConfig, LatentTransformer
from latent_training import (
    FastLatent,
    begin_from,
    blocks_of,
    checkpoint_tensors,
    eight_bits,
    load_trained_latent,
    piece_loss,
    rounded,
    rounded_weights,
    save_latent,
)
from torch.nn import functional as F

CONFIG = LatentConfig(64, 2, 4, 2, 16, 1e-5, 10000.0, 256)


def small_latent(pieces: int = 300) -> LatentTransformer:
    torch.manual_seed(3)
    shapes = {"self_attn.q_proj": (64, 64), "self_attn.k_proj": (32, 64), "self_attn.v_proj": (32, 64)}
    shapes |= {"self_attn.o_proj": (64, 64), "mlp.gate_proj": (96, 64), "mlp.up_proj": (96, 64), "mlp.down_proj": (64, 96)}
    tensors = {"model.lexicon.embedding.weight": torch.randn(pieces, 64), "model.lexicon.norm.weight": torch.rand(64) + 0.5}
    for i in range(CONFIG.layers):
        layer = f"model.global_transformer.layers.{i}."
        tensors |= {f"{layer}{name}.weight": torch.randn(shape) / 8 for name, shape in shapes.items()}
        tensors |= {f"{layer}{name}.weight": torch.rand(64) + 0.5 for name in ("input_layernorm", "post_attention_layernorm")}
    return LatentTransformer(CONFIG, tensors)


def test_folded_and_rotated_weights_compute_what_the_base_does() -> None:
    base = small_latent()
    weights = begin_from(base)
    latent = FastLatent(CONFIG, torch.float32, eight_bit=False).load(weights)
    ids = torch.randint(0, 300, (2, 40))
    turned = LatentTransformer(CONFIG, {**checkpoint_tensors(weights)})
    for row in ids:
        got = latent.hidden(row[None])[0] @ weights.embedding.T
        wanted = base.logits(base.append(row.tolist(), LatentCache(CONFIG)))
        assert (got - wanted).std() / wanted.std() < 0.03  # the embedding is rounded to 8 bits
        again = turned.logits(turned.append(row.tolist(), LatentCache(CONFIG)))
        assert torch.allclose(again, got, atol=1e-4 * wanted.abs().max())


def test_a_batch_gives_each_row_what_it_gets_alone() -> None:
    latent = FastLatent(CONFIG, torch.float32).load(rounded_weights(begin_from(small_latent())))
    ids = torch.randint(0, 300, (3, 20))
    together = latent.hidden(ids)
    assert torch.allclose(together[1:2], latent.hidden(ids[1:2]), atol=1e-4)
    assert torch.allclose(together[:, :12], latent.hidden(ids[:, :12]), atol=1e-4)


def test_blocks_hold_their_greatest_value_and_round_the_others() -> None:
    matrix = torch.randn(5, 7, 64)
    q, scale = blocks_of(matrix)
    assert q.min() >= 0 and q.max() <= 15 and torch.equal(scale, scale.half().float())
    held = rounded(matrix)
    assert torch.equal(rounded(held), held)
    blocks, kept = matrix.unflatten(-1, (-1, 32)), held.unflatten(-1, (-1, 32))
    error = (blocks - kept).abs()
    # Half a step, or a whole one at the far end, where +8 is missing.
    assert (error <= scale.abs() * 1.01).all() and (error <= scale.abs() * 0.51).float().mean() > 0.95
    assert torch.equal(rounded(torch.zeros(2, 32)), torch.zeros(2, 32))


def test_eight_bits_lets_the_gradient_pass() -> None:
    x = torch.randn(4, 50, requires_grad=True)
    y = eight_bits(x)
    assert (y - x).abs().max() <= x.abs().max() / 127 and not torch.equal(x, y)
    y.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def test_loss_in_chunks_and_its_gradient_are_those_of_cross_entropy() -> None:
    hidden = torch.randn(50, 16, requires_grad=True)
    embedding, targets = torch.randn(90, 16), torch.randint(0, 90, (50,))
    targets[7] = -1
    loss = piece_loss(hidden, embedding, targets, chunk=16) / 3
    loss.backward()
    again = hidden.detach().clone().requires_grad_()
    wanted = F.cross_entropy(again @ embedding.T, targets, reduction="sum", ignore_index=-1) / 3
    wanted.backward()
    assert torch.allclose(loss, wanted) and torch.allclose(hidden.grad, again.grad, atol=1e-5)


def test_a_saved_latent_is_read_again(tmp_path) -> None:  # noqa: ANN001
    weights = rounded_weights(begin_from(small_latent()))
    save_latent(weights, tmp_path / "latent.pt")
    read = load_trained_latent(tmp_path / "latent.pt")
    assert read.config == CONFIG and torch.equal(read.matrices["down"], weights.matrices["down"])
