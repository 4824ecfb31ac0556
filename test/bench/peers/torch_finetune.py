"""One row of fine-tuning in torch, for test/bench/finetune.ts: torch_finetune.py THREADS.

A task names sizes; the answer is the time of a gradient by transformers and PEFT with the same work as ours (the lower
layers' results at hand, low-rank parts beside all linear layers of the upper ones, cross-entropy over so many candidates),
and of the matrix products alone that it cannot do without. Weights are drawn at random: they do not change the time.
"""

import sys

import torch
from peft import LoraConfig, inject_adapter_in_model
from serve import milliseconds, serve
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaModel

KINDS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class Row:
    def __init__(self, task: dict) -> None:
        sizes = task["latent"]
        config = LlamaConfig(
            vocab_size=16,
            hidden_size=sizes["hiddenSize"],
            intermediate_size=sizes["intermediateSize"],
            num_hidden_layers=task["layers"],
            num_attention_heads=sizes["heads"],
            num_key_value_heads=sizes["kvHeads"],
            head_dim=sizes["headDim"],
            attn_implementation="sdpa",
        )
        self.model = LlamaModel(config)
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        lora = LoraConfig(r=task["rank"], lora_alpha=2 * task["rank"], target_modules=KINDS)
        inject_adapter_in_model(lora, self.model)
        self.trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        width, positions, candidates = sizes["hiddenSize"], task["positions"], task["candidates"]
        self.hidden = torch.randn(1, positions, width)
        self.readout = torch.randn(candidates, width) / width**0.5
        self.targets = torch.randint(candidates, (positions,))
        weights = [module.weight for name, module in self.model.named_modules() if name.endswith("base_layer")]
        self.products = [*weights, self.readout]
        self.inputs = {size: torch.randn(positions, size) for weight in self.products for size in weight.shape}

    def gradient(self) -> tuple[Tensor, ...]:
        states = self.model(inputs_embeds=self.hidden).last_hidden_state[0]
        return torch.autograd.grad(functional.cross_entropy(states @ self.readout.T, self.targets), self.trained)

    def only_products(self) -> None:
        """Forward with each weight, and back through it."""
        for weight in self.products:
            outputs, inputs = weight.shape
            self.inputs[inputs] @ weight.T
            self.inputs[outputs] @ weight


def main(threads: str) -> None:
    torch.set_num_threads(int(threads))
    rows: dict[str, Row] = {}

    def complete(task: dict) -> dict:
        row = rows.setdefault(str(task), Row(task))
        with torch.no_grad():
            products = milliseconds(row.only_products)
        return {"gradientMs": milliseconds(row.gradient), "productsMs": products}

    serve(f"{threads} threads, torch {torch.__version__}", complete)


if __name__ == "__main__":
    main(*sys.argv[1:])
