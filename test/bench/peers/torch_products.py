"""Only the matrix products of the engine's runs, in torch: torch_products.py CHECKPOINT THREADS float32|int8 [DEVICE].

The machine's limit: no attention, norms, caches or embeddings, no quantisation of activations, projections of the same
input fused, and for each shape the fastest of the products that torch offers.
"""

import json
import sys
import warnings
from pathlib import Path
from typing import Callable, Iterator

import torch
from serve import milliseconds, serve
from torch import Tensor, nn

Product = Callable[[], object]
# Rows of the product for each row of the run, width of its input, width of its output.
Shape = tuple[float, int, int]
# Rows a patch has in bytes, and what the networks' `rows` count.
PATCH_LENGTH = 4


def main(checkpoint: str, threads: str, dtype: str, device: str = "cpu") -> None:
    torch.set_num_threads(int(threads))
    torch.set_default_device(device)
    products = Products(json.loads((Path(checkpoint) / "config.json").read_text()), dtype)

    def complete(task: dict) -> dict:
        prefill, decode = ([products.of(**run) for run in task["runs"][part]] for part in ("prefill", "decode"))
        with torch.inference_mode():
            return {
                "prefillMs": milliseconds(lambda: run_all(prefill)),
                "decodeMs": milliseconds(lambda: run_all(decode)),
                "decodedBytes": len(task["continuation"]),
            }

    where = f"{threads} threads" if device == "cpu" else torch.cuda.get_device_name()
    serve(f"{where}, torch {torch.__version__}", complete)


def run_all(runs: list[list[Product]]) -> None:
    for products in runs:
        for product in products:
            product()
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Products:
    """The products of each network for a number of rows, made when first asked for."""

    def __init__(self, config: dict, dtype: str) -> None:
        kinds = FLOAT32_KINDS if dtype == "float32" else INT8_KINDS
        on_cpu = torch.get_default_device().type == "cpu"
        self.kinds = [kind for kind in kinds if on_cpu or kind not in CPU_KINDS]
        self.shapes = shapes(config)
        self.weights = {name: [weight(*shape[1:], dtype) for shape in layers] for name, layers in self.shapes.items()}
        self.made: dict[tuple[str, int], list[Product]] = {}

    def of(self, network: str, products: int, **_: float) -> list[Product]:
        """Those of a run of so many rows that are multiplied in all layers."""
        if (network, products) not in self.made:
            layers = list(zip(self.shapes[network], self.weights[network]))
            self.made[network, products] = [
                product
                for shape in dict.fromkeys(self.shapes[network])
                if products > 0
                for product in self._fastest(
                    [matrix for own, matrix in layers if own == shape], int(products * shape[0])
                )
            ]
        return self.made[network, products]

    def _fastest(self, matrices: list[Tensor], rows: int) -> list[Product]:
        """One product a matrix, of the kind that is fastest over all of them, which one after the other fill the caches."""
        x = random(rows, matrices[0].shape[1], matrices[0].dtype)
        best, best_time = [], float("inf")
        with torch.inference_mode():
            for kind in self.kinds:
                products = [kind(x, matrix) for matrix in matrices]
                time = min(milliseconds(lambda: run_all([products])) for _ in range(3))
                if time < best_time:
                    best, best_time = products, time
        return best


def packed_float32(x: Tensor, matrix: Tensor) -> Product:
    """oneDNN with the weight laid out beforehand for this number of rows."""
    packed = torch.ops.mkldnn._reorder_linear_weight(matrix, x.shape[0])
    return lambda: torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")


def transposed(multiply: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Product]:
    def kind(x: Tensor, matrix: Tensor) -> Product:
        columns = matrix.t().contiguous()
        return lambda: multiply(x, columns)

    return kind


def dynamic_int8(x: Tensor, matrix: Tensor) -> Product:
    """The layer that torch's dynamic quantisation makes; it quantises the rows too."""
    linear = nn.Linear(matrix.shape[1], matrix.shape[0], bias=False)
    linear.weight.data = matrix.float() / 127
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces that this will move to another package
        layer = torch.ao.quantization.quantize_dynamic(nn.Sequential(linear), {nn.Linear}, dtype=torch.qint8)
    real = x.float()
    return lambda: layer(real)


FLOAT32_KINDS = [packed_float32, lambda x, matrix: lambda: x @ matrix.t(), transposed(torch.mm)]
CPU_KINDS = [packed_float32, dynamic_int8]
INT8_KINDS = [dynamic_int8, lambda x, matrix: lambda: torch._int_mm(x, matrix.t()), transposed(torch._int_mm)]


def weight(wide: int, high: int, dtype: str) -> Tensor:
    return random(high, wide, torch.float32 if dtype == "float32" else torch.int8)


def random(rows: int, columns: int, dtype: torch.dtype) -> Tensor:
    if dtype == torch.float32:
        return torch.randn(rows, columns) / columns**0.5
    return torch.randint(-127, 128, (rows, columns), dtype=torch.int8)


def shapes(config: dict) -> dict[str, Iterator[Shape]]:
    """The products of each network, in order."""
    patcher, encoder, latent, decoder = (
        config[f"{name}_config"] for name in ("patcher", "encoder", "global", "decoder")
    )
    k = config["cross_attn_k"]
    local, vocabulary = encoder["hidden_size"], config["vocab_size"]

    def latent_run() -> Iterator[Shape]:
        yield 1, local, k * local  # projection of the pooled patch
        yield k, local, local  # queries
        yield PATCH_LENGTH, local, 2 * local  # keys and values of its bytes
        yield k, local, local  # output
        yield from stack(latent)
        yield 1, latent["hidden_size"], k * local  # projection for the decoder
        for _ in range(decoder["num_hidden_layers"]):
            yield k, local, 2 * local

    def decoder_run() -> Iterator[Shape]:
        for _ in range(decoder["num_hidden_layers"]):
            yield 1, local, local
            yield 1, local, local
        yield from stack(decoder)
        yield 1, local, vocabulary

    def patcher_run() -> Iterator[Shape]:
        yield from stack(patcher)
        yield 1, patcher["hidden_size"], vocabulary

    networks = {"patcher": patcher_run(), "encoder": stack(encoder), "latent": latent_run(), "decoder": decoder_run()}
    return {name: list(products) for name, products in networks.items()}


def stack(config: dict) -> Iterator[Shape]:
    """A transformer stack: queries, keys and values; output; gate and up; down."""
    hidden, intermediate = config["hidden_size"], config["intermediate_size"]
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    for _ in range(config["num_hidden_layers"]):
        yield 1, hidden, hidden + 2 * hidden // heads * kv_heads
        yield 1, hidden, hidden
        yield 1, hidden, 2 * intermediate
        yield 1, intermediate, hidden


if __name__ == "__main__":
    main(*sys.argv[1:])
