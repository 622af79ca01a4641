"""T: temporal stability of a mask's contour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.lib.stride_tricks import as_strided, sliding_window_view

FINE, COARSE = 0.1, 3.0
"""Tolerances in pixels of the two polygon simplifications of a contour."""
MAX_SEGMENT = 3.0
"""Maximum distance in pixels between neighbouring contour points."""
SECTORS = 12
RADII = np.logspace(np.log10(1 / 8), np.log10(2), 5)
"""Outer edges of the distance bins of a shape context, in units of the mean distance."""
SCALE = 5.0
"""Factor on the cost in the DAVIS toolkit."""
BLOCK = 96
"""Number of cost columns computed at a time."""
TABLE = 2**21
"""Maximum number of entries in the cost tables that are warped together; a single table may be larger."""

Shapes = tuple[int, np.ndarray, np.ndarray]
"""Index of a pair of successive contours, and their shape contexts."""


def instability(shapes: Sequence[np.ndarray | None]) -> np.ndarray:
    """Cost of deforming each contour into the next, the measure T of DAVIS (Perazzi et al. 2016, Section 5.1).

    Args:
        shapes: Shape contexts (N, bins) of successive masks, from `contour_descriptors`.

    Returns:
        (len(shapes) - 1,) float64, 0 for identical contours; lower is steadier. NaN if a mask has no contour.
    """
    values = np.full(max(len(shapes) - 1, 0), np.nan)
    measured = [(k, a, b) for k, (a, b) in enumerate(pairwise(shapes)) if a is not None and b is not None]
    measured.sort(key=lambda pair: len(pair[1]) + len(pair[2]))
    for group in _groups(measured):
        costs = [chi_square(a, b) for _, a, b in group]
        # contours are closed and start anywhere, so warp again, starting after the best-matching pair
        starts = [path[cost[tuple(path.T)].argmin()] + 1 for path, cost in zip(warp(costs), costs, strict=True)]
        paths = warp([np.roll(cost, -start, axis=(0, 1)) for cost, start in zip(costs, starts, strict=True)])
        for (k, _, _), cost, start, path in zip(group, costs, starts, paths, strict=True):
            pairs = one_to_one((path + start) % cost.shape, cost)
            values[k] = SCALE * float(cost[tuple(pairs.T)].mean())
    return values


def _groups(pairs: list[Shapes]) -> Iterator[list[Shapes]]:
    """Groups pairs so that the cost tables of a group, padded to the largest, fit into `TABLE`."""
    group: list[Shapes] = []
    rows = columns = 0
    for pair in pairs:
        _, a, b = pair
        rows, columns = max(rows, len(a)), max(columns, len(b))
        if group and (len(group) + 1) * (rows + 1) * (rows + columns) > TABLE:
            yield group
            group, rows, columns = [], len(a), len(b)
        group.append(pair)
    if group:
        yield group


def contour_descriptors(mask: np.ndarray) -> np.ndarray | None:
    """Shape contexts (N, bins) of the contour of a mask (HW bool); None if the mask is empty."""
    points = outline(mask)
    return None if points is None else shape_contexts(points)


def outline(mask: np.ndarray) -> np.ndarray | None:
    """The longest contour of a mask as a closed polygon without long segments.

    Args:
        mask: HW bool.

    Returns:
        (N, 2) points (x, y) in pixels, each at most `MAX_SEGMENT` from the next, and the last from the first; None if
        the mask is empty.
    """
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return None
    longest = contours[0][:0]
    for contour in contours:
        if len(contour) > len(longest):  # simplification never adds points
            polygon = cv2.approxPolyDP(cv2.approxPolyDP(contour, FINE, closed=True), COARSE, closed=True)
            longest = max(longest, polygon, key=len)
    return resample(longest[:, 0].astype(np.float64))


def resample(polygon: np.ndarray) -> np.ndarray:
    """Inserts evenly spaced points on the segments of a closed polygon (N, 2) that are longer than `MAX_SEGMENT`."""
    steps = np.roll(polygon, -1, axis=0) - polygon
    pieces = np.maximum(np.ceil(np.hypot(*steps.T) / MAX_SEGMENT), 1).astype(int)
    segment = np.repeat(np.arange(len(polygon)), pieces)
    within = np.arange(len(segment)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    return polygon[segment] + steps[segment] * (within / pieces[segment])[:, None]


def shape_contexts(points: np.ndarray) -> np.ndarray:
    """Shape context of each contour point: the distribution of the other points around it (Belongie et al. 2002).

    Args:
        points: (N, 2), x and y in pixels.

    Returns:
        (N, 60) float64: normalised histograms over 12 directions times 5 distances in units of the mean distance. Each
        point counts itself, in the innermost bin.
    """
    count, size = len(points), (len(RADII) + 1) * SECTORS
    # Each pair of points is visited once: point i and the one k places on, for k up to half the contour.
    half, twice = count // 2, (count - 1) // 2
    x, y = (_ahead(axis, half) - axis for axis in points.T)
    distance = np.sqrt(x * x + y * y)
    # at half the contour, for an even number of points, each pair occurs twice
    distance /= (2 * distance[:twice].sum() + distance[twice:].sum()) / count**2 or 1.0
    ring = np.zeros(distance.shape, np.uint8)  # an extra ring beyond the last is dropped below
    for radius in RADII:
        ring += distance >= radius
    ring *= SECTORS
    first = size * np.arange(count)
    slot = np.empty((half + twice, count), np.intp)
    np.add(ring + _sector(x, y), first, out=slot[:half])
    np.add(ring[:twice] + _sector(-x[:twice], -y[:twice]), _ahead(first, twice), out=slot[half:])
    histogram = np.bincount(slot.ravel(), minlength=size * count).reshape(count, size)
    histogram[:, SECTORS // 2] += 1  # the point itself, counted as east
    histogram = histogram[:, : SECTORS * len(RADII)]
    return histogram / histogram.sum(axis=1, keepdims=True)


def _sector(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Sector of a direction, uint8, counted from the west."""
    turn = np.arctan2(y, x)
    turn /= 2 * np.pi / SECTORS
    sector = np.floor(turn, out=turn).astype(np.int8).view(np.uint8)
    sector += SECTORS // 2
    sector[sector == SECTORS] = 0  # 180 degrees is -180
    return sector


def _ahead(values: np.ndarray, reach: int) -> np.ndarray:
    """(reach, N) from (N,): row k - 1 holds for each place the value k places on, cyclically."""
    return sliding_window_view(np.concatenate([values, values[:reach]]), len(values))[1:]


def chi_square(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distance 0.5 sum_k (a_k - b_k)^2 / (a_k + b_k) of all pairs of normalised histograms.

    Args:
        a: (N, bins).
        b: (M, bins).

    Returns:
        (N, M) float32 in [0, 1], multiples of 2^-24, accurate to 1e-6.
    """
    from scipy.sparse import csr_array

    # As both sum to one, this equals 1 - 2 sum_k 1 / (1 / a_k + 1 / b_k). Only the occupied third of a row's bins
    # contributes, and bins empty in b vanish through an infinite 1 / b_k.
    with np.errstate(divide="ignore"):
        inverse_a, inverse_b = (1 / a).astype(np.float32), np.ascontiguousarray(1 / b.T, np.float32)
    # Neighbouring rows share many values. A table holds the terms of each (bin, value) once, and a sparse matrix of
    # ones sums those of each row; the table is computed for a few columns at a time, to stay in the cache.
    rows, bins = np.nonzero(a)
    levels, index = np.unique(bins << 32 | inverse_a[rows, bins].view(np.int32), return_inverse=True)
    bins, values = levels >> 32, levels.astype(np.uint32).view(np.float32)[:, None]
    starts = np.searchsorted(rows, np.arange(len(a) + 1))
    adder = csr_array((np.ones(len(index), np.float32), index, starts), (len(a), len(levels)))
    shared = np.empty((len(a), len(b)), np.float32)
    for column in range(0, len(b), BLOCK):
        terms = inverse_b[:, column : column + BLOCK].take(bins, axis=0)
        terms += values
        np.reciprocal(terms, out=terms)
        shared[:, column : column + BLOCK] = adder @ terms
    shared *= -2
    shared += 1
    return np.maximum(shared, 0, out=shared)


def warp(costs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Cheapest path through each cost matrix from its first cell to its last (dynamic time warping).

    A step goes right, down or both, and costs the value of the cell it enters.

    Args:
        costs: (N, M) each; matrices of similar size waste less memory.

    Returns:
        For each matrix, the (P, 2) rows and columns of the path cells, from the first to the last.
    """
    rows, columns = (max(cost.shape[axis] for cost in costs) for axis in (0, 1))
    # A cell depends on the two anti-diagonals before its own. Anti-diagonals become rows here, and the matrices lie
    # side by side, so one addition updates a row of all of them. A margin left of each matrix keeps paths inside.
    width = rows + 1
    total = np.full((rows + columns, len(costs) * width), np.inf)
    down, right = total.strides
    for number, cost in enumerate(costs):
        as_strided(total[1:, number * width + 1 :], cost.shape, (down + right, down))[:] = cost
    best = np.empty(total.shape[1] - 1)
    for corner, up, left, cell in zip(total[:-2, :-1], total[1:-1, :-1], total[1:-1, 1:], total[2:, 1:], strict=True):
        np.minimum(up, left, out=best)
        np.minimum(best, corner, out=best)
        np.add(cell, best, out=cell)
    flat = total.reshape(-1).data
    return [
        _trace(flat, total.shape[1], number * width + 1, sum(cost.shape) - 1, len(cost))
        for number, cost in enumerate(costs)
    ]


def _trace(total: memoryview, stride: int, first: int, diagonals: int, rows: int) -> np.ndarray:
    """Traces the path back from the last cell of a matrix to its first.

    Args:
        total: All tables of `warp`, flattened.
        stride: Length of a table row, which holds one anti-diagonal.
        first: Offset of the matrix's first row within a table row.
        diagonals: Number of anti-diagonals of the matrix.
        rows: Number of rows of the matrix.
    """
    start, place = stride + first, diagonals * stride + first + rows - 1
    path = [place]
    while place != start:
        left, up, corner = place - stride, place - stride - 1, place - 2 * stride - 1
        if total[corner] <= total[up] and total[corner] <= total[left]:
            place = corner
        else:
            place = up if total[up] <= total[left] else left
        path.append(place)
    diagonal, row = np.divmod(path[::-1], stride)
    row -= first
    return np.stack([row, diagonal - 1 - row], axis=1)


def one_to_one(pairs: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Keeps the cheapest of the pairs (P, 2) that share a row of `cost`, then of those that share a column."""
    for side in (0, 1):
        order = np.lexsort((cost[pairs[:, 0], pairs[:, 1]], pairs[:, side]))
        _, first = np.unique(pairs[order, side], return_index=True)
        pairs = pairs[order[first]]
    return pairs
