"""The mask of an object from a box around it or points on it, by GrabCut (Rother et al. 2004)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from mug.errors import InputError
from mug.media.refine import refine
from mug.priors.manifold_ranking import cut_frame

Box = tuple[float, float, float, float]
"""x and y of the upper left corner, width and height, in pixels."""
Point = tuple[float, float]
"""x and y in pixels."""

ITERATIONS = 5
MARGIN = 0.25
"""Surroundings of the box that are looked at on each side, as a share of its width or height. Chosen like the other
constants on synthetic videos."""
MIN_MARGIN = 12
"""Their least width in pixels."""
CORE = 0.2
"""Size of the ellipse in the middle of a box that is taken for the object, as a share of the box."""
POINT_RADIUS = 0.008
"""Radius of the disc around a point that is taken for the object, as a share of the frame's diagonal: 8 px at 480p."""
MOST_PIXELS = 60_000
"""Larger windows are shrunk to this many pixels; the edge of the mask is then aligned by the guided filter."""
LEAST_SHARE = 0.08
"""An object that fills less of its box is taken for a failure: the ellipse in the box is the mask."""
LEAST_PIECE = 0.1
"""Pieces smaller than this share of the largest are dropped."""
_LEAST_SAMPLES = 5
"""Pixels that GrabCut needs of each side, one for each of its Gaussians."""


def grabcut(frame: np.ndarray, box: Box | None = None, points: Sequence[Point] = ()) -> np.ndarray:
    """Cuts an object out of a frame, given a box around it, points on it, or both.

    With a box, the ellipse in it is the first guess. With points alone, it is the superpixels that are closer to a
    point than to the border of the frame, by the change of colour on the way. The same input gives the same mask.

    Args:
        frame: (H, W, 3) uint8 RGB.
        box: (x, y, width, height) in pixels; the part outside the frame is ignored.
        points: (x, y) in pixels, each on the object.

    Returns:
        (H, W) bool, never empty.

    Raises:
        InputError: the frame is not 8-bit RGB, there is neither a box nor a point, a box has no area or lies outside
            the frame, or a point lies outside it.

    Example:
        >>> frame = np.zeros((60, 80, 3), np.uint8)
        >>> frame[20:40, 30:50] = 200
        >>> mask = grabcut(frame, box=(25, 15, 30, 30))
        >>> int(mask.sum()), bool(mask[20:40, 30:50].all())
        (400, True)
    """
    if not isinstance(frame, np.ndarray) or frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise InputError("grabcut: the frame must be RGB as uint8 of shape (H, W, 3), 0 to 255")
    if box is None and not len(points):
        raise InputError("grabcut: give a box around the object or a point on it")
    height, width = frame.shape[:2]
    for x, y in points:
        if not (0 <= x < width and 0 <= y < height):
            raise InputError(f"point {x:g},{y:g}: lies outside the frame of {width}x{height} pixels")
    sure = _discs(frame, points)
    if box is None:
        guess = _around(frame, points) | sure
        inside = _filled(guess)
    else:
        inside = _inside(frame, box)
        guess = _ellipse(frame, box) & inside
        if not len(points):
            sure = _ellipse(frame, box, CORE) & inside
    rows, columns = _window(inside)
    mask = np.zeros((height, width), bool)
    mask[rows, columns] = _cut(frame[rows, columns], *(part[rows, columns] for part in (inside, guess, sure)))
    if mask.sum() < LEAST_SHARE * inside.sum():
        mask = guess | sure
    kept = _pieces(mask, sure if len(points) else None)
    return kept if kept.any() else inside


def _cut(frame: np.ndarray, inside: np.ndarray, guess: np.ndarray, sure: np.ndarray) -> np.ndarray:
    """GrabCut in a window: (H, W) bool from where the object may be, probably is and surely is."""
    marks = np.where(inside, cv2.GC_PR_BGD, cv2.GC_BGD).astype(np.uint8)
    marks[guess & inside] = cv2.GC_PR_FGD
    marks[sure] = cv2.GC_FGD
    scale = math.sqrt(min(1.0, MOST_PIXELS / marks.size))
    small = np.ascontiguousarray(frame)
    if scale < 1:
        small = np.asarray(cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
        marks = np.asarray(cv2.resize(marks, small.shape[1::-1], interpolation=cv2.INTER_NEAREST), np.uint8)
    fore = np.isin(marks, (cv2.GC_FGD, cv2.GC_PR_FGD))
    if min(fore.sum(), (~fore).sum()) < _LEAST_SAMPLES:
        return guess | sure
    cv2.setRNGSeed(0)  # its mixtures begin at random
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(small, marks, (0, 0, 1, 1), background, foreground, ITERATIONS, cv2.GC_INIT_WITH_MASK)
    found = np.isin(marks, (cv2.GC_FGD, cv2.GC_PR_FGD))
    if scale == 1:
        return found
    soft = cv2.resize(found.astype(np.float32), frame.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return refine(frame, np.asarray(soft, np.float32), "guided") > 0.5


def _around(frame: np.ndarray, points: Sequence[Point]) -> np.ndarray:
    """The superpixels (H, W) bool that are closer to a point than to the border of the frame.

    The length of a way over superpixels is the sum of the changes of colour, and a little for each step.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import dijkstra

    pieces, lab = cut_frame(frame)
    (height, width), (rows, columns) = frame.shape[:2], pieces.labels.shape
    seeds = np.unique([pieces.labels[int(y * rows / height), int(x * columns / width)] for x, y in points])
    others = np.setdiff1d(pieces.border(), seeds)
    start = np.isin(pieces.labels, seeds)
    if len(others) and pieces.count > 1:
        i, j = pieces.edges().T
        length = np.linalg.norm(lab[i] - lab[j], axis=1) + 1
        graph = coo_array((length, (i, j)), shape=(pieces.count, pieces.count)).tocsr()
        own, border = (dijkstra(graph, directed=False, indices=ends, min_only=True) for ends in (seeds, others))
        start = (own < border)[pieces.labels]
    return cv2.resize(start.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0


def _inside(frame: np.ndarray, box: Box) -> np.ndarray:
    """The pixels (H, W) bool of a box; at least one.

    Raises:
        InputError: it has no area, or lies outside the frame.
    """
    height, width = frame.shape[:2]
    x, y, w, h = box
    said = f"box {','.join(f'{number:g}' for number in box)}"
    if not (w > 0 and h > 0 and all(map(math.isfinite, box))):
        raise InputError(f"{said}: has no area; give x,y,width,height in pixels")
    left, top, right, bottom = max(0, math.floor(x)), max(0, math.floor(y)), min(width, x + w), min(height, y + h)
    if left >= right or top >= bottom:
        raise InputError(f"{said}: lies outside the frame of {width}x{height} pixels")
    inside = np.zeros((height, width), bool)
    inside[top : math.ceil(bottom), left : math.ceil(right)] = True
    return inside


def _ellipse(frame: np.ndarray, box: Box, share: float = 1.0) -> np.ndarray:
    """The ellipse (H, W) bool in the middle of a box, with a share of its width and height."""
    x, y, w, h = box
    rows, columns = np.ogrid[: frame.shape[0], : frame.shape[1]]
    across, down = (columns + 0.5 - x - w / 2) / (share * w / 2), (rows + 0.5 - y - h / 2) / (share * h / 2)
    return across**2 + down**2 <= 1


def _discs(frame: np.ndarray, points: Sequence[Point]) -> np.ndarray:
    """Discs (H, W) bool around points."""
    height, width = frame.shape[:2]
    discs = np.zeros((height, width), np.uint8)
    for x, y in points:
        cv2.circle(discs, (int(x), int(y)), round(POINT_RADIUS * math.hypot(height, width)), 1, -1)
    return discs > 0


def _filled(mask: np.ndarray) -> np.ndarray:
    """The smallest window around a mask, as a mask (H, W) bool."""
    rows, columns = _window(mask)
    window = np.zeros_like(mask)
    window[rows, columns] = True
    return window


def _window(mask: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of a mask (H, W) bool with a margin."""
    places = []
    for axis in (1, 0):
        (found,) = np.nonzero(mask.any(axis=axis))
        first, end = int(found[0]), int(found[-1]) + 1
        margin = max(MIN_MARGIN, round(MARGIN * (end - first)))
        places.append(slice(max(0, first - margin), min(mask.shape[1 - axis], end + margin)))
    return places[0], places[1]


def _pieces(mask: np.ndarray, seeds: np.ndarray | None) -> np.ndarray:
    """The connected pieces of a mask that hold a seed; without seeds, those that are not much smaller than the largest.

    Args:
        mask: (H, W) bool.
        seeds: (H, W) bool.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    area = stats[:, cv2.CC_STAT_AREA]
    keep = area >= LEAST_PIECE * area[1:].max(initial=0)
    if seeds is not None:
        keep = np.isin(np.arange(count), labels[seeds])
    keep[0] = False
    return np.asarray(keep[labels])
