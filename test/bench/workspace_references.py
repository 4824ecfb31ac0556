"""PPMd and xz on the held-out files of a split (workspace-model.ts), given the rest of the project: bits(rest + file) - bits(rest).

    pip install pyppmd && python test/bench/workspace_references.py SPLIT.json
"""
import json
import lzma
import sys

import pyppmd

PPMD_ORDERS = (6, 16)


def ppmd(data: bytes, order: int) -> int:
    """Bytes of PPMd variant H, as in 7-Zip, with 1 GB of memory."""
    encoder = pyppmd.Ppmd7Encoder(order, 1 << 30)
    return len(encoder.encode(data)) + len(encoder.flush())


def xz(data: bytes) -> int:
    """Bytes of LZMA2 at its best with a window larger than any project."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 26}]
    return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters))


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def main() -> None:
    measures = {"xz": xz} | {f"PPMd {order}": lambda data, order=order: ppmd(data, order) for order in PPMD_ORDERS}
    for project in json.loads(read(sys.argv[1])):
        rest = b"\n".join(map(read, project["workspace"])) + b"\n"
        texts = [read(path) for path in project["scored"]]
        size = sum(map(len, texts))
        numbers = []
        for name, measure in measures.items():
            alone = measure(rest)
            numbers.append(f"{name} {8 * sum(measure(rest + text) - alone for text in texts) / size:.3f}")
        print(project["name"], size, *numbers, flush=True)


if __name__ == "__main__":
    main()
