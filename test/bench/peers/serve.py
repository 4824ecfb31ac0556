"""A Python subject's side of the benchmark's protocol (lib/protocol.ts): one JSON object a line."""

import json
import sys
import time
from typing import Callable

clock = time.perf_counter


def serve(settings: str, complete: Callable[[dict], dict]) -> None:
    """Says that the subject is ready, then answers tasks until standard input is closed."""
    print(json.dumps({"ready": True, "settings": settings, "phases": {}}), flush=True)
    for line in sys.stdin:
        print(json.dumps(complete(json.loads(line))), flush=True)


def milliseconds(work: Callable[[], object]) -> float:
    start = clock()
    work()
    return (clock() - start) * 1e3
