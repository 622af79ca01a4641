"""J: region overlap of two masks."""

from __future__ import annotations

import numpy as np


def jaccard(prediction: np.ndarray, truth: np.ndarray, void: np.ndarray | None = None) -> float:
    """Intersection over union of two masks, the measure J of DAVIS (Perazzi et al. 2016, Section 5.1).

    Args:
        prediction: HW bool.
        truth: HW bool.
        void: HW bool, pixels ignored in both masks.

    Returns:
        A value in [0, 1]; 1 if both masks are empty.
    """
    intersection = prediction & truth
    union = prediction | truth
    if void is not None:
        intersection, union = intersection & ~void, union & ~void
    pixels = int(np.count_nonzero(union))
    return int(np.count_nonzero(intersection)) / pixels if pixels else 1.0
