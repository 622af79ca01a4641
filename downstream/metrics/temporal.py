"""T: how steady the outline of a mask is from frame to frame."""

from __future__ import annotations

import cv2
import numpy as np

FINE, COARSE = 0.1, 3.0
"""Tolerances in pixels of the two simplifications of an outline."""
MAX_SEGMENT = 3.0
"""Longest distance in pixels of two neighbouring points of an outline."""
SECTORS = 12
RADII = np.logspace(np.log10(1 / 8), np.log10(2), 5)
"""Outer edges of the distance bins of a shape context, in mean distances."""
SCALE = 5.0
"""Factor that the DAVIS toolkit puts on the cost."""


def instability(before: np.ndarray | None, after: np.ndarray | None) -> float:
    """What it costs to turn one outline into the next, the measure T of DAVIS (Perazzi et al. 2016, Section 5.1).

    Args:
        before: Shape contexts (N, bins) of the first mask as `describe` gives them.
        after: Those of the next mask, (M, bins).

    Returns:
        0 for outlines that are alike; lower is steadier. NaN where a mask has no outline.
    """
    if before is None or after is None:
        return float("nan")
    cost = chi_square(before, after)
    pairs = warp(cost)
    # the contours are closed and start anywhere: once more, from behind the pair that fits best
    start = pairs[cost[pairs[:, 0], pairs[:, 1]].argmin()] + 1
    pairs = (warp(np.roll(cost, -start, axis=(0, 1))) + start) % cost.shape
    pairs = one_to_one(pairs, cost)
    return SCALE * float(cost[pairs[:, 0], pairs[:, 1]].mean())


def describe(mask: np.ndarray) -> np.ndarray | None:
    """Shape contexts (N, bins) of a mask's outline (HW bool); None if it is empty."""
    points = outline(mask)
    return None if points is None else shape_contexts(points)


def outline(mask: np.ndarray) -> np.ndarray | None:
    """The longest contour of a mask as a closed polygon without long segments.

    Args:
        mask: HW bool.

    Returns:
        (N, 2) points (x, y) in pixels, each at most `MAX_SEGMENT` from the next and the last so from the first; None
        if the mask is empty.
    """
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return None
    polygons = [cv2.approxPolyDP(cv2.approxPolyDP(c, FINE, closed=True), COARSE, closed=True) for c in contours]
    return resample(max(polygons, key=len)[:, 0].astype(np.float64))


def resample(polygon: np.ndarray) -> np.ndarray:
    """Puts evenly spaced points on the segments of a closed polygon (N, 2) that are longer than `MAX_SEGMENT`."""
    steps = np.roll(polygon, -1, axis=0) - polygon
    pieces = np.maximum(np.ceil(np.hypot(*steps.T) / MAX_SEGMENT), 1).astype(int)
    segment = np.repeat(np.arange(len(polygon)), pieces)
    within = np.arange(len(segment)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    return polygon[segment] + steps[segment] * (within / pieces[segment])[:, None]


def shape_contexts(points: np.ndarray) -> np.ndarray:
    """Where the other points of an outline lie, seen from each of its points (Belongie et al. 2002).

    Args:
        points: (N, 2), x and y in pixels.

    Returns:
        (N, 60) float64: normalised histograms over 12 directions times 5 distances in units of the mean distance. A
        point sees itself, in the innermost bin.
    """
    x, y = points.T
    dx, dy = x - x[:, None], y - y[:, None]
    distance = np.sqrt(dx * dx + dy * dy)
    distance /= distance.mean() or 1.0
    # beyond the last ring is one more, and both ends of the circle, -180 and 180 degrees, have a sector of their own:
    # the first is dropped and the others are joined below, which is cheaper than a modulo of each pair
    rings, sectors = len(RADII) + 1, SECTORS + 1
    ring = np.zeros(distance.shape, np.uint8)
    for radius in RADII:
        ring += distance >= radius
    sector = np.arctan2(dy, dx)
    sector /= 2 * np.pi / SECTORS
    slot = np.floor(sector, out=sector).astype(np.int32)
    slot += ring * np.uint8(sectors)
    slot += (SECTORS // 2 + rings * sectors * np.arange(len(points), dtype=np.int32))[:, None]
    count = np.bincount(slot.ravel(), minlength=len(points) * rings * sectors).reshape(-1, rings, sectors)[:, :-1]
    count[:, :, 0] += count[:, :, -1]
    histogram = count[:, :, :-1].reshape(len(points), -1)
    return histogram / histogram.sum(axis=1, keepdims=True)


def chi_square(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distance 0.5 sum_k (a_k - b_k)^2 / (a_k + b_k) of all pairs of normalised histograms.

    Args:
        a: (N, bins).
        b: (M, bins).

    Returns:
        (N, M) float32 in [0, 1], accurate to 1e-6.
    """
    # As both sum to one this is 1 - 2 sum_k 1 / (1 / a_k + 1 / b_k). Only the third of the bins that a row occupies
    # can add to it, and an infinite 1 / b_k makes a bin that is empty in b vanish.
    with np.errstate(divide="ignore"):
        inverse_a, inverse_b = (1 / a).astype(np.float32), np.ascontiguousarray(1 / b.T, np.float32)
    shared = np.empty((len(a), len(b)), np.float32)
    scratch = np.empty(inverse_b.shape, np.float32)
    for row, inverse in zip(shared, inverse_a, strict=True):
        occupied = np.flatnonzero(np.isfinite(inverse))
        term = np.add(inverse_b[occupied], inverse[occupied, None], out=scratch[: len(occupied)])
        np.reciprocal(term, out=term).sum(axis=0, out=row)
    return np.maximum(1 - 2 * shared, 0)


def warp(cost: np.ndarray) -> np.ndarray:
    """Cheapest path through a cost matrix from its first cell to its last (dynamic time warping).

    A step goes right, down or both, and costs what the cell entered costs.

    Args:
        cost: (N, M).

    Returns:
        (P, 2) row and column of the cells on the path, from the first to the last.
    """
    rows, columns = cost.shape
    # A cell depends on the two anti-diagonals before its own. Those become rows here, so that a whole one is one
    # addition; column i + 1 is row i of the cost, column 0 a margin that no path enters.
    total = np.full((rows + columns, rows + 1), np.inf)
    skewed = np.lib.stride_tricks.as_strided(
        total[1:, 1:], cost.shape, ((rows + 2) * total.itemsize, (rows + 1) * total.itemsize)
    )
    skewed[:] = cost
    best = np.empty(rows)
    for d in range(2, rows + columns):
        np.minimum(total[d - 1, 1:], total[d - 1, :-1], out=best)
        np.minimum(best, total[d - 2, :-1], out=best)
        total[d, 1:] += best
    return _trace(total, rows, columns)


def _trace(total: np.ndarray, rows: int, columns: int) -> np.ndarray:
    i, j = rows - 1, columns - 1
    path = [(i, j)]
    while i or j:
        d = i + j + 1
        diagonal, down, right = total[d - 2, i], total[d - 1, i], total[d - 1, i + 1]
        if diagonal <= down and diagonal <= right:
            i, j = i - 1, j - 1
        elif down <= right:
            i -= 1
        else:
            j -= 1
        path.append((i, j))
    return np.array(path[::-1])


def one_to_one(pairs: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Of the pairs (P, 2) that share a row of `cost` keeps the cheapest, then the same for columns."""
    for side in (0, 1):
        order = np.lexsort((cost[pairs[:, 0], pairs[:, 1]], pairs[:, side]))
        _, first = np.unique(pairs[order, side], return_index=True)
        pairs = pairs[order[first]]
    return pairs
