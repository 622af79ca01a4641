"""Propagated objects merged with the object-level masks of their frames (HCPN Sec. IV-A)."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage


def merged(carried: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """Objects in the outline of the object-level mask.

    An object keeps its pixels inside the mask and loses those outside. The mask's other pixels go to the nearest object
    of their connected region; a region without an object gets no id, because nothing says whose it is. An empty mask
    says nothing of a frame, whose objects stay as they are.

    Args:
        carried: (H, W) uint8, ids of propagated objects, 0 background.
        foreground: (H, W) bool, the object-level mask.

    Returns:
        (H, W) uint8.

    >>> merged(np.array([[1, 1, 0, 2]], np.uint8), np.array([[False, True, True, False]])).tolist()
    [[0, 1, 1, 0]]
    """
    if not foreground.any():
        return carried
    kept = np.where(foreground, carried, 0).astype(np.uint8)
    out = kept.copy()
    _, regions, boxes, _ = cv2.connectedComponentsWithStats(foreground.astype(np.uint8), connectivity=8)
    for region, (left, top, width, height, _) in enumerate(boxes):
        window = slice(top, top + height), slice(left, left + width)
        inside = regions[window] == region
        ids = np.where(inside, kept[window], 0)
        if region == 0 or not ids.any():
            continue
        rows, columns = ndimage.distance_transform_edt(ids == 0, return_distances=False, return_indices=True)
        out[window][inside] = ids[rows, columns][inside]
    return out
