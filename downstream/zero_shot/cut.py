"""Where to cut the maps of a video, or of a group of images, when nobody knows the object.

Where maps are probabilities, how well a mask overlaps the object can be expected without seeing the object: J is about
E|mask and object| / E|mask or object|, and both are sums of probabilities. The best cut of a video follows from its
maps alone: a half where they are sure, lower where they are not, since a pixel that is left out then costs more than
one too many (for F instead of J: Lipton, Elkan and Naryanaswamy 2014).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

CUTS = 1 / (1 + np.exp(-np.linspace(-5, 5, 101)))
"""Cuts that are tried: from 0.7 % to 99.3 %, even in log odds."""


def expected_overlap(map_hw: np.ndarray) -> np.ndarray:
    """J that the mask of a frame can be expected to have if the map is cut at each of CUTS; 0 where nothing is left.

    Args:
        map_hw: Foreground probability of each cell.
    """
    likely = map_hw.astype(np.float64).ravel()
    place = np.searchsorted(CUTS, likely)  # so many cuts lie below
    cells = np.bincount(place, minlength=len(CUTS) + 1)
    inside = np.bincount(place, likely, len(CUTS) + 1)
    found, both = (above[::-1].cumsum()[::-1][1:] for above in (cells, inside))
    return both / np.maximum(found + likely.sum() - both, 1e-12)


def expected_cut(maps: Iterable[np.ndarray]) -> float:
    """The one of CUTS at which the masks of all frames of a video together are expected to overlap the object best.

    Args:
        maps: (h, w) foreground probability of each frame, at least one.
    """
    return best_of(np.sum([expected_overlap(map_hw) for map_hw in maps], 0))


def best_of(overlaps: np.ndarray) -> float:
    """The same from the sum of `expected_overlap` over the frames."""
    return float(CUTS[np.argmax(overlaps)])
