"""Threshold for the maps of a video, or of a group of images, without ground truth.

If maps are probabilities, the expected J of a mask is about E|mask and object| / E|mask or object|, and both are sums
of probabilities. The best threshold follows from the maps alone: one half if they are confident, lower if not, because
a missing pixel then costs more than a surplus one (for F instead of J: Lipton, Elkan and Naryanaswamy 2014).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

CUTS = 1 / (1 + np.exp(-np.linspace(-5, 5, 101)))
"""Candidate thresholds from 0.7 % to 99.3 %, evenly spaced in log odds."""


def expected_overlap(map_hw: np.ndarray) -> np.ndarray:
    """Expected J of a frame's mask at each threshold of CUTS; 0 if the mask is empty.

    Args:
        map_hw: Foreground probability of each cell.
    """
    likely = map_hw.astype(np.float64).ravel()
    place = np.searchsorted(CUTS, likely)  # number of thresholds below
    cells = np.bincount(place, minlength=len(CUTS) + 1)
    inside = np.bincount(place, likely, len(CUTS) + 1)
    found, both = (above[::-1].cumsum()[::-1][1:] for above in (cells, inside))
    return both / np.maximum(found + likely.sum() - both, 1e-12)


def expected_cut(maps: Iterable[np.ndarray]) -> float:
    """The threshold of CUTS with the highest expected J, summed over all frames of a video.

    Args:
        maps: (h, w) foreground probability of each frame, at least one.
    """
    return best_of(np.sum([expected_overlap(map_hw) for map_hw in maps], 0))


def best_of(overlaps: np.ndarray) -> float:
    """The best threshold, from the sum of `expected_overlap` over the frames."""
    return float(CUTS[np.argmax(overlaps)])
