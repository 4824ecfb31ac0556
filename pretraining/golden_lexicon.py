"""A tiny random latent transformer with a lexicon, and the golden files that a second implementation is held to.

    python pretraining/golden_lexicon.py test/golden/lexicon --default models/default

writes three checkpoints of the same network, `plain` (F32), `blocks` (4-bit blocks, int8 rows) and `symmetric` (blocks
without minima, and a readout matrix), each with
golden.json (what is read when) and golden.safetensors (log-probabilities), and default.json: cuts and one text's
log-probabilities by the default model; docs/lexicon.md, section 8.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from latent_reference import load_latent
from latent_training import blocks_of, packed
from lexicon_reference import LexiconReader, Trunk, score
from pieces import Words, byte_symbols, load_lexicon, scan
from readout import SYMBOLS, Rule

CORPUS = ["return", " return", "const", " con", "value", " =", "==", "\n    ", "\n\n", "  ", "()", " naïve", "let's"]
TEXTS = {
    "code": b"const value = con(x);\n    return value\n\n\nlet's 42 == 7",
    "characters": "  café 你好 naïve's\n\t\tx  5".encode(),
    "not utf-8": b"'re've \xff\xe4\xbd a\x04b  \n \n'r'\xe9",
    "empty": b"",
    "long words": b"=" * 37 + b" " * 35 + b"return",
}
CODE = b"""import re

def first_words(lines, limit=10):
    \"\"\"Return the first word of each line.\"\"\"
    return [re.match(r"\\s*(\\w+)", line).group(1) for line in lines[:limit]]
"""
CUTS = ["schemas.ZodInterface", "{\r\n\r\n    return x;\n\n}\n", "we're, they'll, 'x'r 'd", "  5 \t 42\n 7 ½ ² Ⅳ ٣", "<|endoftext|>"]
CUTS += ["a\u0085b\ufeff c\u2028\u2029 \u3000d", "naïve 你好，😀 Привет_мир", "\x04\x1f a\x13b", "=" * 40 + " " * 70 + "x"]
RULES = [Rule(), Rule(refresh_threshold=0.3, word_limit=8), Rule(refresh_threshold=1.0, fallback_share=0.01)]
WIDTH, INNER, LAYERS = 32, 64, 2
BLOCK = 32


def tiny_fallback(text: bytes) -> np.ndarray:
    """A byte model in one line: symbol s has weight 1 + (31 * last byte + 7 s + length) mod 13; [257]."""
    last = text[-1] if text else 0
    weights = 1.0 + (31 * last + 7 * np.arange(SYMBOLS) + len(text)) % 13
    return weights / weights.sum()


def write_golden(target: Path) -> None:
    for form in ("plain", "blocks", "symmetric"):
        write_checkpoint(target / form, form)
        latent, lexicon = load_latent(target / form), load_lexicon(target / form)
        cases, tensors = [], {}
        for name, text in TEXTS.items():
            for i, rule in enumerate(RULES):
                case, distributions = read(LexiconReader(latent, lexicon, rule, tiny_fallback), text)
                cases.append({"name": f"{name}.{i}", "rule": asdict(rule), "text": list(text), "lengths": case})
                tensors[f"{name}.{i}"] = torch.tensor(np.log(distributions), dtype=torch.float32)
        cuts = {name: [piece for piece, _ in lexicon.cut(text)] for name, text in TEXTS.items()}
        golden = {"cuts": cuts, "cases": cases}
        (target / form / "golden.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
        save_file(tensors, target / form / "golden.safetensors")


def write_default(target: Path, checkpoint: Path) -> None:
    """default.json: `cuts` [[text's bytes, pieces, start of the open word after each length]], and of `text` the natural
    logarithm of each byte's and then EOS's probability with the tiny fallback."""
    latent, lexicon = load_latent(checkpoint), load_lexicon(checkpoint)
    cuts = []
    for text in [*(cut.encode() for cut in CUTS), b"a\xff\xe4\xbd b\xed\xa0\x80\xf4\x90 \xc3", CODE]:
        words, opened = Words(), [0]
        for byte in text:
            words.append(byte)
            opened.append(words.open)
        cuts.append([list(text), [piece for piece, _ in lexicon.cut(text)], opened])
    result = score(Trunk(latent, lexicon, CODE), Rule(), tiny_fallback)
    golden = {"cuts": cuts, "rule": asdict(Rule()), "text": list(CODE)}
    golden["log_probability"] = [round(float(value), 6) for value in result.log_probability]
    golden |= {"steps": result.steps, "positions": result.positions}
    (target / "default.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


def read(reader: LexiconReader, text: bytes) -> tuple[list[dict], np.ndarray]:
    """For every length of the text: where the open word was opened, its readings and ended pieces, and the latent's
    steps so far; and the distributions [n + 1, 257]."""
    seen, distributions = [], []
    for length in range(len(text) + 1):
        if length:
            reader.append(text[length - 1])
        readings = [[list(r.pieces), r.start, r.weight] for r in reader.word.readings]
        ended = [[list(e.pieces), e.end, e.weight] for e in reader.word.ended]
        state = {"opened": list(reader.opened), "readings": readings, "ended": ended}
        seen.append(state | {"steps": reader.steps, "positions": reader.positions})
        distributions.append(reader.distribution())
    return seen, np.array(distributions)


def write_checkpoint(target: Path, form: str, seed: int = 0) -> None:
    """A checkpoint in the layout of docs/checkpoint-format.md, `form` plain, blocks or symmetric."""
    target.mkdir(parents=True, exist_ok=True)
    pieces, merges = tiny_pieces()
    generator = torch.Generator().manual_seed(seed)
    tensors = tiny_tensors(len(pieces), generator)
    if form == "symmetric":
        tensors["model.lexicon.readout.weight"] = torch.randn(WIDTH, WIDTH, generator=generator) / WIDTH**0.5
    if form != "plain":
        parts = [quantised(name, weight, form == "symmetric") for name, weight in tensors.items()]
        tensors = {name: part for each in parts for name, part in each.items()}
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    latent = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "num_key_value_heads": 2}
    latent |= {"head_dim": 8, "intermediate_size": INNER, "rms_norm_eps": 1e-5, "max_position_embeddings": 512}
    latent["rope_parameters"] = {"rope_type": "default", "rope_theta": 10000.0}
    lexicon = {"vocab_size": len(pieces), "tokenizer_file": "tokenizer.json", "bos_piece": 1, "eos_piece": 0}
    lexicon |= {"special_pieces": [0, 1], **asdict(Rule())}
    config = {"model_type": "blt", "vocab_size": 260, "patch_in_forward": False, "patching_mode": "entropy"}
    config |= {"global_config": latent, "lexicon_config": lexicon}
    if form == "symmetric":
        lexicon["readout_matrix"] = True
        config["quantization_config"] = {"quant_method": "blt-blocks", "block_size": BLOCK, "minima": False}
    symbols = byte_symbols()
    spelt = ["<|end|>", "<|start|>", *("".join(symbols[byte] for byte in piece) for piece in pieces[2:])]
    bpe = {"type": "BPE", "vocab": {piece: i for i, piece in enumerate(spelt)}}
    bpe["merges"] = [f"{spelt[left]} {spelt[right]}" for left, right in merges]
    digits = {"type": "Digits", "individual_digits": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tokenizer = {"version": "1.0", "added_tokens": [], "model": bpe}
    tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, byte_level]}
    (target / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (target / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False) + "\n", encoding="utf-8")


def tiny_pieces() -> tuple[list[bytes], list[tuple[int, int]]]:
    """Byte strings (two special pieces first, then single bytes, some missing) and merges, the most frequent first."""
    texts = [*(text.encode() for text in CORPUS * 3), *(text for name, text in TEXTS.items() if name != "long words")]
    words = [text[start:end] for text in texts for start, end in scan(text)[0]]
    alphabet = sorted({byte for word in words for byte in word} - {0xFF, 0x04})
    pieces = [b"", b"", *(bytes([byte]) for byte in alphabet)]
    sequences = [[alphabet.index(byte) + 2 for byte in word if byte in alphabet] for word in words]
    merges: list[tuple[int, int]] = []
    while True:
        pairs = [pair for sequence in sequences for pair in zip(sequence, sequence[1:])]
        fresh = [pair for pair in set(pairs) if pieces[pair[0]] + pieces[pair[1]] not in pieces]
        if not fresh:
            return pieces, merges
        left, right = max(fresh, key=lambda pair: (pairs.count(pair), pair))
        merges.append((left, right))
        pieces.append(pieces[left] + pieces[right])
        sequences = [_merged(sequence, left, right, len(pieces) - 1) for sequence in sequences]


def _merged(sequence: list[int], left: int, right: int, whole: int) -> list[int]:
    merged: list[int] = []
    for piece in sequence:
        if merged and (merged[-1], piece) == (left, right):
            merged[-1] = whole
        else:
            merged.append(piece)
    return merged


def tiny_tensors(vocabulary: int, generator: torch.Generator) -> dict[str, Tensor]:
    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return scale * torch.randn(*shape, generator=generator) / shape[-1] ** 0.5

    tensors = {"model.lexicon.embedding.weight": normal(vocabulary, WIDTH, scale=3)}
    tensors["model.lexicon.norm.weight"] = 1 + normal(WIDTH)
    for i in range(LAYERS):
        layer = {f"self_attn.{name}_proj": normal(rows, WIDTH) for name, rows in zip("qkvo", (32, 16, 16, 32))}
        layer |= {"mlp.gate_proj": normal(INNER, WIDTH), "mlp.up_proj": normal(INNER, WIDTH)}
        layer |= {"mlp.down_proj": normal(WIDTH, INNER)}
        layer |= {"input_layernorm": 1 + normal(WIDTH), "post_attention_layernorm": 1 + normal(WIDTH)}
        tensors |= {f"model.global_transformer.layers.{i}.{name}.weight": tensor for name, tensor in layer.items()}
    return tensors


def quantised(name: str, weight: Tensor, symmetric: bool = False) -> dict[str, Tensor]:
    """Matrices of the layers as 4-bit blocks, the embedding as int8 rows, norms and the readout matrix as they are."""
    if weight.ndim == 1 or name == "model.lexicon.readout.weight":
        return {name: weight}
    if name == "model.lexicon.embedding.weight":
        scale = weight.abs().amax(1) / 127
        return {name: (weight / scale[:, None]).round().to(torch.int8), f"{name}_scale": scale}
    if symmetric:
        q, scale = blocks_of(weight)
        return {name: packed(q), f"{name}_scale": scale[..., 0].half()}
    blocks = weight.unflatten(1, (-1, BLOCK))
    low, high = blocks.amin(-1).half(), blocks.amax(-1).half()
    scale = ((high.float() - low.float()) / 15).half()
    quants = ((blocks - low.float()[..., None]) / scale.float()[..., None]).round().clamp(0, 15)
    return {name: packed(quants), f"{name}_scale": scale, f"{name}_min": low}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("target", type=Path)
    parser.add_argument("--default", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with torch.no_grad():
        write_golden(arguments.target)
        if arguments.default:
            write_default(arguments.target, arguments.default)
