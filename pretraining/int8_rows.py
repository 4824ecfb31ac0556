"""Tables as int8 rows with a scale each. Shapes: N rows, K columns."""

import numpy as np


def int8_rows(values: np.ndarray, candidates: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """I8 [N, K] and F32 scale [N]; each row's scale is the one of least squared error among `candidates`
    between 0.75 and 1 of (greatest magnitude / 127)."""
    greatest = np.abs(values).max(axis=1) / 127
    greatest[greatest == 0] = 1
    best = np.full(len(values), np.inf)
    scale = greatest.copy()
    for factor in np.linspace(0.75, 1, candidates):
        trial = (greatest * factor)[:, None]
        error = ((np.clip(np.rint(values / trial), -127, 127) * trial - values) ** 2).sum(axis=1)
        better = error < best
        best[better] = error[better]
        scale[better] = trial[better, 0]
    scale = scale.astype(np.float32)
    return np.clip(np.rint(values / scale[:, None]), -127, 127).astype(np.int8), scale
