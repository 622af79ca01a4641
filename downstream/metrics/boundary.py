"""F: how well the outlines of two masks agree."""

from __future__ import annotations

import math

import cv2
import numpy as np

TOLERANCE = 0.008
"""Distance at which two outlines still agree, as a share of the image diagonal."""


def f_measure(
    prediction: np.ndarray, truth: np.ndarray, void: np.ndarray | None = None, radius: int | None = None
) -> float:
    """Harmonic mean of precision and recall of a mask's boundary, the measure F of DAVIS (Perazzi et al. 2016).

    A boundary pixel counts as found when the other boundary passes within `radius` pixels.

    Args:
        prediction: HW bool.
        truth: HW bool.
        void: HW bool, pixels that are taken out of both masks first.
        radius: Pixels; that of the benchmark, `tolerance`, when not given.

    Returns:
        A value in [0, 1]; 1 where neither mask has a boundary, 0 where only one has.
    """
    if void is not None:
        prediction, truth = prediction & ~void, truth & ~void
    box = bounding_box(prediction | truth)
    if box is None:
        return 1.0
    radius = tolerance(*truth.shape) if radius is None else radius
    predicted, true = boundary_map(prediction[box]), boundary_map(truth[box])
    precision = _share_near(predicted, true, radius)
    recall = _share_near(true, predicted, radius)
    if precision is None and recall is None:
        return 1.0
    # a boundary that is not there is found without error
    precision, recall = 1.0 if precision is None else precision, 1.0 if recall is None else recall
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def tolerance(height: int, width: int) -> int:
    """Radius in pixels within which outlines agree; 8 at 854x480."""
    return math.ceil(TOLERANCE * math.hypot(height, width))


def boundary_map(mask: np.ndarray) -> np.ndarray:
    """Marks the pixels that differ from their east, south or south-east neighbour, as the DAVIS toolkit does.

    In the last row only the neighbour to the east counts, in the last column only the one to the south; the pixel in
    the last corner is never marked.

    Args:
        mask: HW bool.

    Returns:
        HW bool.
    """
    boundary = np.zeros_like(mask)
    here = mask[:-1, :-1]
    boundary[:-1, :-1] = (here ^ mask[:-1, 1:]) | (here ^ mask[1:, :-1]) | (here ^ mask[1:, 1:])
    boundary[-1, :-1] = mask[-1, :-1] ^ mask[-1, 1:]
    boundary[:-1, -1] = mask[:-1, -1] ^ mask[1:, -1]
    return boundary


def disk(radius: int) -> np.ndarray:
    """Square of side 2 radius + 1, uint8: 1 within `radius` of the centre, the rim included."""
    offset = np.arange(-radius, radius + 1)
    return (offset[:, None] ** 2 + offset**2 <= radius**2).astype(np.uint8)


def bounding_box(mask: np.ndarray) -> tuple[slice, slice] | None:
    """Rows and columns that hold the mask (HW bool) and, inside the image, one more on each side; None if empty."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    if not width:
        return None
    return slice(max(y - 1, 0), y + height + 1), slice(max(x - 1, 0), x + width + 1)


def _share_near(boundary: np.ndarray, other: np.ndarray, radius: int) -> float | None:
    """Share of the pixels of `boundary` within `radius` of `other`; None if `boundary` has none."""
    pixels = int(np.count_nonzero(boundary))
    if not pixels:
        return None
    reach = cv2.dilate(other.view(np.uint8), disk(radius), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return int(np.count_nonzero(boundary & (reach != 0))) / pixels
