"""transformers' BltForCausalLM.generate on the same checkpoint, in patches of four bytes: hf_generate.py CHECKPOINT THREADS [DEVICE].

Without a cache, as its documentation uses it; with one, 5.18 raises an error. So each byte costs a whole prefill, and
two of them are enough.
"""

import sys

import torch
import transformers
from serve import milliseconds, serve
from transformers import BltForCausalLM

BYTES = 2


def main(checkpoint: str, threads: str, device: str = "cpu") -> None:
    torch.set_num_threads(int(threads))
    transformers.utils.logging.disable_progress_bar()
    model = BltForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval().to(device)
    # No entropy reaches the threshold, so that only the longest length allowed cuts.
    model.config.patching_threshold = 1e9
    model.config.max_patch_length = 4

    def generate(prompt: str, count: int) -> None:
        ids = torch.tensor([[1] + [byte + 4 for byte in prompt.encode()]], device=device)
        lengths = {"max_new_tokens": count, "min_new_tokens": count}
        with torch.inference_mode():
            made = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, use_cache=False, **lengths)
            made.cpu()  # waits for the device

    def complete(task: dict) -> dict:
        ms = milliseconds(lambda: generate(task["prompt"], BYTES))
        return {"prefillMs": ms / BYTES, "decodeMs": ms, "decodedBytes": BYTES}

    generate("//", 1)
    where = f"{threads} threads" if device == "cpu" else torch.cuda.get_device_name()
    serve(f"{where}, transformers {transformers.__version__}, torch {torch.__version__}", complete)


if __name__ == "__main__":
    main(*sys.argv[1:])
