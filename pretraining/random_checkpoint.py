"""Makes random BLT checkpoints with the transformers library: test fixtures of any shape, and the benchmark's shape.

    python pretraining/random_checkpoint.py OUT --local-hidden 48 --local-heads 3 --k 3 --max-shard-size 200KB
    python pretraining/random_checkpoint.py OUT --shape default --dtype float16

A network as initialised predicts nearly flat distributions, whose entropies hardly vary. So the two heads are scaled
afterwards: logits to a standard deviation of 1, the patcher's to a mean entropy near 2 nats; the threshold is then
set for a wanted mean patch length on real text.
"""

import argparse
import json
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor
from transformers import BltConfig as HfConfig
from transformers import BltForCausalLM
from transformers.utils import logging

from config import BltConfig, StackConfig, to_hf
from model import BOS, Blt, entropies

MEAN_ENTROPY = 2.0


@dataclass
class Shape:
    """Sizes of a random checkpoint; `kv_heads` 0 means as many as heads, `max_patch_length` 0 means none."""

    local_hidden: int = 32
    local_heads: int = 2
    local_kv_heads: int = 0
    local_ffn: int = 96
    encoder_layers: int = 1
    decoder_layers: int = 2
    latent_hidden: int = 64
    latent_layers: int = 2
    latent_heads: int = 4
    latent_kv_heads: int = 0
    latent_ffn: int = 160
    patcher_hidden: int = 32
    patcher_layers: int = 2
    patcher_heads: int = 2
    patcher_kv_heads: int = 0
    patcher_ffn: int = 80
    patcher_window: int = 0
    local_window: int = 0
    k: int = 2
    hash_groups: str = "3,4,5,6,7,8"
    hash_vocab: int = 1009
    hash_functions: int = 1
    max_patch_length: int = 0
    mean_patch_length: float = 4.0


# The shape of the default model, on which speed is measured.
DEFAULT_SHAPE = Shape(
    local_hidden=288,
    local_heads=9,
    local_ffn=768,
    decoder_layers=3,
    latent_hidden=576,
    latent_layers=30,
    latent_heads=9,
    latent_kv_heads=3,
    latent_ffn=1536,
    patcher_hidden=192,
    patcher_heads=3,
    patcher_ffn=512,
    patcher_window=64,
    hash_vocab=32768,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shape", choices=["small", "default"], default="small", help="sizes not given below")
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], default="float32")
    parser.add_argument("--max-shard-size", default="50GB", help="splits the weights into files, e.g. 200KB")
    parser.add_argument("--seed", type=int, default=1)
    for item in fields(Shape):
        parser.add_argument("--" + item.name.replace("_", "-"), type=type(item.default))
    args = parser.parse_args()
    base = DEFAULT_SHAPE if args.shape == "default" else Shape()
    given = {item.name: getattr(args, item.name) for item in fields(Shape) if getattr(args, item.name) is not None}
    shape = Shape(**(vars(base) | given))
    logging.disable_progress_bar()
    print(json.dumps(make_checkpoint(args.out, shape, getattr(torch, args.dtype), args.max_shard_size, args.seed)))


def make_checkpoint(
    out: Path, shape: Shape, dtype: torch.dtype = torch.float32, max_shard_size: str = "50GB", seed: int = 1
) -> dict:
    """Writes a checkpoint with `save_pretrained`; returns its figures on sample text (nats, bytes)."""
    torch.manual_seed(seed)
    config = config_of(shape)
    model = BltForCausalLM(HfConfig(**to_hf(config))).eval()
    ids = sample_ids(4, 512)
    with torch.no_grad():
        model.model.patcher.lm_head.weight *= _sharpening(model, ids)
        model.lm_head.weight /= model(ids[:1, :128], use_cache=False).logits.std()
        model = model.to(dtype)
        entropy = windowed_entropies(config, model, ids)
    threshold = threshold_for(entropy, shape.mean_patch_length)
    model.config.patching_threshold = threshold
    for stale in out.glob("model*.safetensors*"):  # an earlier checkpoint may have had other shards
        stale.unlink()
    model.save_pretrained(out, max_shard_size=max_shard_size)
    inside = entropy[:, 1:]
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "threshold": threshold,
        "mean_patch_length": round(1 / (inside > threshold).float().mean().item(), 3),
        "entropy_5_50_95": [round(inside.flatten().quantile(q).item(), 3) for q in (0.05, 0.5, 0.95)],
    }


def config_of(shape: Shape) -> BltConfig:
    def stack(hidden: int, layers: int, heads: int, kv_heads: int, ffn: int, window: int, **more: float) -> StackConfig:
        return StackConfig(hidden, layers, heads, kv_heads or heads, ffn, window=window or None, **more)

    def local(layers: int) -> StackConfig:
        sizes = (shape.local_heads, shape.local_kv_heads, shape.local_ffn, shape.local_window)
        return stack(shape.local_hidden, layers, *sizes)

    return BltConfig(
        patcher=stack(
            shape.patcher_hidden,
            shape.patcher_layers,
            shape.patcher_heads,
            shape.patcher_kv_heads,
            shape.patcher_ffn,
            shape.patcher_window,
            rope_theta=10000.0,
            max_positions=8192,
        ),
        encoder=local(shape.encoder_layers),
        latent=stack(
            shape.latent_hidden,
            shape.latent_layers,
            shape.latent_heads,
            shape.latent_kv_heads,
            shape.latent_ffn,
            0,
            max_positions=4096,
        ),
        decoder=local(shape.decoder_layers),
        cross_attn_k=shape.k,
        hash_group_sizes=[int(size) for size in shape.hash_groups.split(",")],
        hash_vocab=shape.hash_vocab,
        hash_functions=shape.hash_functions,
        max_patch_length=shape.max_patch_length or None,
    )


def sample_ids(rows: int, length: int, seed: int = 0) -> Tensor:
    """[rows, length] ids of real text: BOS and a piece of two of this folder's sources."""
    text = b"".join((Path(__file__).parent / name).read_bytes() for name in ("config.py", "model.py"))
    firsts = torch.randint(0, len(text) - length, (rows,), generator=torch.Generator().manual_seed(seed)).tolist()
    return torch.tensor([[BOS] + [byte + 4 for byte in text[first : first + length - 1]] for first in firsts])


def windowed_entropies(config: BltConfig, model: BltForCausalLM, ids: Tensor) -> Tensor:
    """The patcher's entropies in nats, [B, T], with its window if it has one; weights as they will be stored."""
    with torch.device("meta"):
        twin = Blt(config)
    state = {name: tensor.float() for name, tensor in model.model.patcher.state_dict().items()}
    twin.model.patcher.load_state_dict(state, assign=True)
    return entropies(twin.patcher_logits(ids))


def threshold_for(entropy: Tensor, mean_patch_length: float) -> float:
    """A threshold in nats that cuts patches of the wanted mean length, in the widest gap between values near by."""
    values = entropy[:, 1:].flatten().sort().values
    middle, around = int(len(values) * (1 - 1 / mean_patch_length)), max(1, len(values) // 100)
    near = values[max(0, middle - around) : middle + around + 1]
    widest = int(near.diff().argmax())
    return round(float(near[widest] + near[widest + 1]) / 2, 6)


def _sharpening(model: BltForCausalLM, ids: Tensor) -> float:
    """Factor on the patcher's logits at which its mean entropy is MEAN_ENTROPY, by bisection."""
    logits = model.model.patcher(ids)[2]
    low, high = 0.1, 100.0
    for _ in range(30):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if entropies(logits * middle).mean() > MEAN_ENTROPY else (low, middle)
    return low


if __name__ == "__main__":
    main()
