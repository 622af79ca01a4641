"""Mean, recall and decay of a measure over the frames of a sequence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RECALL_THRESHOLD = 0.5
QUARTERS = 4


def statistics(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Mean, recall and decay of a per-frame measure (Perazzi et al. 2016, Section 5.2).

    Args:
        values: The measure in the scored frames, in order; at least one.

    Returns:
        `mean`; `recall`, the share of frames above 0.5; `decay`, the mean of the first quarter minus that of the last.
    """
    frames = np.asarray(values, dtype=np.float64)
    if not len(frames):
        raise ValueError("no frame to take the statistics of")
    return {
        "mean": float(frames.mean()),
        "recall": float((frames > RECALL_THRESHOLD).mean()),
        "decay": decay(frames),
    }


def decay(frames: np.ndarray) -> float:
    """Mean of the first quarter of `frames` (N,) minus the mean of the last.

    Neighbouring quarters share their edge frame, as in the DAVIS toolkit. The toolkit's edges wrap at 256 frames,
    because they are stored in a byte; these do not.
    """
    # the small offset rounds halves up; numpy would round them to even
    edges = np.round(np.linspace(1, len(frames), QUARTERS + 1) + 1e-10).astype(int) - 1
    return float(frames[edges[0] : edges[1] + 1].mean() - frames[edges[-2] : edges[-1] + 1].mean())
