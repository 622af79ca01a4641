"""F: boundary agreement of two masks."""

from __future__ import annotations

import math

import cv2
import numpy as np

TOLERANCE = 0.008
"""Maximum distance between matching boundaries, as a share of the image diagonal."""


def f_measure(
    prediction: np.ndarray, truth: np.ndarray, void: np.ndarray | None = None, radius: int | None = None
) -> float:
    """Harmonic mean of boundary precision and recall, the measure F of DAVIS (Perazzi et al. 2016).

    A boundary pixel is matched if the other boundary passes within `radius` pixels.

    Args:
        prediction: HW bool.
        truth: HW bool.
        void: HW bool, pixels removed from both masks first.
        radius: In pixels; by default that of the benchmark, `tolerance`.

    Returns:
        A value in [0, 1]; 1 if neither mask has a boundary, 0 if only one has.
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
    # an empty boundary has precision and recall 1
    precision, recall = 1.0 if precision is None else precision, 1.0 if recall is None else recall
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def tolerance(height: int, width: int) -> int:
    """Matching radius in pixels; 8 at 854x480."""
    return math.ceil(TOLERANCE * math.hypot(height, width))


def boundary_map(mask: np.ndarray) -> np.ndarray:
    """Marks pixels that differ from their east, south or south-east neighbour, as in the DAVIS toolkit.

    In the last row only the east neighbour counts, in the last column only the south one; the last corner pixel is
    never marked.

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
    """Square of side 2 radius + 1, uint8: 1 within `radius` of the centre, rim included."""
    offset = np.arange(-radius, radius + 1)
    return (offset[:, None] ** 2 + offset**2 <= radius**2).astype(np.uint8)


def bounding_box(mask: np.ndarray) -> tuple[slice, slice] | None:
    """Rows and columns of the mask (HW bool), with a margin of one pixel inside the image; None if it is empty."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    if not width:
        return None
    return slice(max(y - 1, 0), y + height + 1), slice(max(x - 1, 0), x + width + 1)


def _share_near(boundary: np.ndarray, other: np.ndarray, radius: int) -> float | None:
    """Share of the pixels of `boundary` within `radius` of `other`; None if `boundary` is empty."""
    pixels = int(np.count_nonzero(boundary))
    if not pixels:
        return None
    reach = cv2.dilate(other.view(np.uint8), disk(radius), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return int(np.count_nonzero(boundary & (reach != 0))) / pixels
