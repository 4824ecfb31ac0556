"""An adapter made by PEFT on a tiny Llama with the weights of test/golden/lexicon/plain, and its effect.

    python pretraining/golden_adapter.py test/golden

writes test/golden/adapter/peft (what PEFT saves) and log_probs.safetensors (log-probabilities of the next piece, [T, V],
by transformers with the adapter). test/golden/adapter/ours is the same adapter as our writer writes it.
"""

import argparse
import json
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from latent_reference import LatentTransformer, load_latent

PIECES = [0, 5, 31, 64, 7, 110, 12, 5, 31, 90, 64, 3]
KINDS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def llama_of(latent: LatentTransformer) -> LlamaForCausalLM:
    """The same network in transformers: rows of q and k go from alternating rotary pairs to halves."""
    config = latent.config
    first = latent.layers[0]
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(latent.embedding),
            hidden_size=config.hidden_size,
            intermediate_size=len(first["mlp.gate_proj.weight"]),
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads,
            head_dim=config.head_dim,
            rms_norm_eps=config.norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
            max_position_embeddings=config.max_positions,
            tie_word_embeddings=True,
        )
    ).eval()
    state = {"model.embed_tokens.weight": latent.embedding, "model.norm.weight": latent.norm}
    for i, layer in enumerate(latent.layers):
        for name, tensor in layer.items():
            state[f"model.layers.{i}.{name}"] = in_halves(tensor, config.head_dim) if is_rotated(name) else tensor
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    model.tie_weights()
    return model


def is_rotated(name: str) -> bool:
    return "q_proj" in name or "k_proj" in name


def in_halves(rows: Tensor, head_dim: int) -> Tensor:
    """Rows (2 i, 2 i + 1) of each head -> rows i and head_dim / 2 + i."""
    return rows.unflatten(0, (-1, head_dim // 2, 2)).transpose(1, 2).flatten(0, 2)


def log_probs(model: torch.nn.Module, pieces: list[int]) -> Tensor:
    with torch.no_grad():
        return model(torch.tensor([pieces])).logits[0].log_softmax(-1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("golden", type=Path)
    folder = parser.parse_args().golden
    torch.manual_seed(0)
    base = llama_of(load_latent(folder / "lexicon/plain"))
    model = get_peft_model(base, LoraConfig(r=3, lora_alpha=6, target_modules=KINDS, task_type="CAUSAL_LM"))
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn_like(parameter) * 0.3
    model.save_pretrained(folder / "adapter/peft")
    (folder / "adapter/peft/README.md").unlink(missing_ok=True)
    vocabulary = base.config.vocab_size
    pieces = [piece % vocabulary for piece in PIECES]
    save_file(
        {"log_probs": log_probs(model.eval(), pieces).contiguous()},
        folder / "adapter/log_probs.safetensors",
        metadata={"pieces": json.dumps(pieces)},
    )


if __name__ == "__main__":
    main()
