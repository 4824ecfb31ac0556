"""The configuration of a BLT in training: the Hugging Face `config.json` read into names, and written back.

Sources: blt-spec section 9.1 (keys and defaults). `sliding_window` in a network's own config is our addition:
transformers keeps the key and ignores it.
"""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class StackConfig:
    """One stack of pre-norm transformer blocks. `window`: key j is visible to query i iff i - window < j <= i."""

    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    intermediate_size: int
    rope_theta: float = 500000.0
    norm_eps: float = 1e-5
    window: int | None = None
    max_positions: int = 24576

    def __post_init__(self) -> None:
        if self.hidden_size % self.heads or (self.hidden_size // self.heads) % 2:
            raise ValueError(f"hidden_size {self.hidden_size} over {self.heads} heads leaves no even head size")
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads do not divide into {self.kv_heads} key/value heads")

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.heads


@dataclass
class BltConfig:
    """Everything `config.json` says about a BLT. `threshold` in nats; `patcher` None: patches come from outside."""

    patcher: StackConfig | None
    encoder: StackConfig
    latent: StackConfig
    decoder: StackConfig
    cross_attn_k: int = 2
    hash_group_sizes: list[int] = field(default_factory=lambda: [3, 4, 5, 6, 7, 8])
    hash_vocab: int = 500002
    hash_functions: int = 1
    threshold: float = 1.335442066192627
    max_patch_length: int | None = None
    patching_mode: str = "entropy"
    vocab_size: int = 260
    encoder_cross_all_layers: bool = False
    decoder_cross_all_layers: bool = True

    @property
    def needs_latent_projection(self) -> bool:
        return self.cross_attn_k * self.encoder.hidden_size != self.latent.hidden_size

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def from_hf(config: dict[str, Any]) -> BltConfig:
    """`config.json` in the Hugging Face layout -> BltConfig."""
    encoder, decoder = config["encoder_config"], config["decoder_config"]
    return BltConfig(
        patcher=_stack(config["patcher_config"], 10000.0) if config.get("patch_in_forward", True) else None,
        encoder=_stack(encoder, 500000.0),
        latent=_stack(config["global_config"], 500000.0),
        decoder=_stack(decoder, 500000.0),
        cross_attn_k=config.get("cross_attn_k", 2),
        hash_group_sizes=config.get("encoder_hash_byte_group_size") or [3, 4, 5, 6, 7, 8],
        hash_vocab=config.get("encoder_hash_byte_group_vocab", 500002),
        hash_functions=config.get("encoder_hash_byte_group_nb_functions", 1),
        threshold=config.get("patching_threshold", 1.335442066192627),
        max_patch_length=config.get("max_patch_length"),
        patching_mode=config.get("patching_mode", "entropy"),
        vocab_size=config.get("vocab_size", 260),
        encoder_cross_all_layers=encoder.get("cross_attn_all_layers", False),
        decoder_cross_all_layers=decoder.get("cross_attn_all_layers", True),
    )


def to_hf(config: BltConfig) -> dict[str, Any]:
    """BltConfig -> `config.json` in the Hugging Face layout; loads in transformers' BltForCausalLM."""
    encoder, decoder, latent = config.encoder, config.decoder, config.latent
    width = config.cross_attn_k * encoder.hidden_size
    local = {"vocab_size": config.vocab_size, "cross_attn_k": config.cross_attn_k, "dropout": 0.0, "hidden_act": "silu"}
    result: dict[str, Any] = {
        "architectures": ["BltForCausalLM"],
        "model_type": "blt",
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": False,
        "patch_in_forward": config.patcher is not None,
        "patching_mode": config.patching_mode,
        "patching_threshold": config.threshold,
        "patch_size": 4,
        "max_patch_length": config.max_patch_length,
        "cross_attn_k": config.cross_attn_k,
        "encoder_hash_byte_group_size": config.hash_group_sizes,
        "encoder_hash_byte_group_vocab": config.hash_vocab,
        "encoder_hash_byte_group_nb_functions": config.hash_functions,
        "encoder_config": _stack_to_hf(encoder, "blt_local_encoder")
        | local
        | {"cross_attn_all_layers": config.encoder_cross_all_layers, "hidden_size_global": latent.hidden_size},
        "global_config": _stack_to_hf(latent, "blt_global_transformer")
        | {"dropout": 0.0, "hidden_act": "silu"}
        | {"encoder_cross_output_size": width if config.needs_latent_projection else None},
        "decoder_config": _stack_to_hf(decoder, "blt_local_decoder")
        | local
        | {"cross_attn_all_layers": config.decoder_cross_all_layers, "hidden_size_global": latent.hidden_size},
    }
    if config.patcher is not None:
        result["patcher_config"] = patcher_to_hf(config.patcher, config.vocab_size)
    return result


def patcher_to_hf(stack: StackConfig, vocab_size: int = 260) -> dict[str, Any]:
    """`patcher_config` of a config.json."""
    return _stack_to_hf(stack, "blt_patcher") | {"vocab_size": vocab_size, "dropout": 0.0, "hidden_act": "silu"}


def _stack(config: dict[str, Any], theta: float) -> StackConfig:
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    rope = config.get("rope_parameters") or {}
    return StackConfig(
        hidden_size=hidden,
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        intermediate_size=config.get("intermediate_size") or int(8 * hidden / 3),
        rope_theta=rope.get("rope_theta") or config.get("rope_theta") or theta,
        norm_eps=config.get("rms_norm_eps") or config.get("norm_eps") or 1e-5,
        window=config.get("sliding_window"),
        max_positions=config.get("max_position_embeddings", 24576),
    )


def _stack_to_hf(stack: StackConfig, model_type: str) -> dict[str, Any]:
    result: dict[str, Any] = {
        "model_type": model_type,
        "hidden_size": stack.hidden_size,
        "num_hidden_layers": stack.layers,
        "num_attention_heads": stack.heads,
        "num_key_value_heads": stack.kv_heads,
        "intermediate_size": stack.intermediate_size,
        "max_position_embeddings": stack.max_positions,
        "rms_norm_eps": stack.norm_eps,
        "rope_parameters": {"rope_theta": stack.rope_theta, "rope_type": "default"},
    }
    if stack.window is not None:
        result["sliding_window"] = stack.window
    return result
