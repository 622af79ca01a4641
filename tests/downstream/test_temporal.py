"""T against a transcription point by point in float64."""

from __future__ import annotations

import math
from itertools import pairwise

import cv2
import numpy as np
import pytest

from downstream.metrics import temporal
from downstream.metrics.temporal import (
    chi_square,
    contour_descriptors,
    instability,
    one_to_one,
    outline,
    resample,
    shape_contexts,
    warp,
)

Cell = tuple[int, int]


def ellipse(angle: float = 20, centre: tuple[int, int] = (60, 50), axes: tuple[int, int] = (40, 22)) -> np.ndarray:
    return cv2.ellipse(np.zeros((100, 120), np.uint8), centre, axes, angle, 0, 360, 1, -1) > 0


def naive_contexts(points: np.ndarray) -> np.ndarray:
    count = len(points)
    mean = sum(math.dist(p, q) for p in points for q in points) / count**2
    edges = [10 ** (math.log10(1 / 8) + k * (math.log10(2) - math.log10(1 / 8)) / 4) for k in range(5)]
    histogram = np.zeros((count, 5, 12))
    for i, p in enumerate(points):
        for q in points:
            ring = sum(math.dist(p, q) / mean >= edge for edge in edges)
            angle = math.atan2(q[1] - p[1], q[0] - p[0]) % (2 * math.pi)
            if ring < 5:
                histogram[i, ring, int(angle / (math.pi / 6)) % 12] += 1
    return histogram.reshape(count, 60) / histogram.sum(axis=(1, 2))[:, None]


def naive_chi_square(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    total = a[:, None] + b
    return 0.5 * np.where(total > 0, (a[:, None] - b) ** 2 / np.where(total > 0, total, 1), 0).sum(axis=2)


def naive_warp(cost: np.ndarray) -> tuple[float, list[Cell]]:
    rows, columns = cost.shape
    best: dict[Cell, tuple[float, Cell | None]] = {}
    for i in range(rows):
        for j in range(columns):
            before = [(best[c][0], c) for c in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if c in best]
            cheapest = min(before, key=lambda entry: entry[0]) if before else (0.0, None)
            best[i, j] = (cheapest[0] + cost[i, j], cheapest[1])
    path: list[Cell] = []
    cell: Cell | None = (rows - 1, columns - 1)
    while cell is not None:
        path.append(cell)
        cell = best[cell][1]
    return best[rows - 1, columns - 1][0], path[::-1]


def naive_instability(a: np.ndarray, b: np.ndarray) -> float:
    cost = naive_chi_square(a, b)
    rows, columns = cost.shape
    _, path = naive_warp(cost)
    row, column = min(path, key=lambda cell: cost[cell])
    rolled = np.array(
        [[cost[(i + row + 1) % rows, (j + column + 1) % columns] for j in range(columns)] for i in range(rows)]
    )
    _, path = naive_warp(rolled)
    pairs = [((i + row + 1) % rows, (j + column + 1) % columns) for i, j in path]
    for side in (0, 1):
        kept: dict[int, Cell] = {}
        for pair in pairs:
            if pair[side] not in kept or cost[pair] < cost[kept[pair[side]]]:
                kept[pair[side]] = pair
        pairs = list(kept.values())
    return 5 * sum(cost[pair] for pair in pairs) / len(pairs)


def random_points(seed: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, count))
    radius = rng.uniform(15, 40, count)
    return np.stack([60 + radius * np.cos(angle), 50 + radius * np.sin(angle)], axis=1)


@pytest.mark.parametrize("count", [3, 23, 60])
def test_shape_contexts_are_the_histograms_point_by_point(count: int) -> None:
    points = random_points(count, count)
    got, expected = shape_contexts(points), naive_contexts(points)
    assert got.shape == (count, 60)
    # the order of the bins is free, the same for all points: sort them by their content over the points
    assert sorted(map(tuple, got.T.round(9))) == sorted(map(tuple, expected.T.round(9)))


def test_a_lone_point_sees_only_itself() -> None:
    assert np.unique(shape_contexts(np.array([[3.0, 4.0]]))).tolist() == [0, 1]


def test_shape_contexts_of_axis_parallel_points_share_one_sector_for_west() -> None:
    points = np.array([[0.0, 0.0], [-4.0, -0.0], [-8.0, 0.0]])
    contexts = shape_contexts(points)
    assert sorted(contexts[0][contexts[0] > 0]) == sorted(naive_contexts(points)[0][naive_contexts(points)[0] > 0])


def test_chi_square_is_the_plain_sum() -> None:
    a, b = naive_contexts(random_points(1, 30)), naive_contexts(random_points(2, 41))
    np.testing.assert_allclose(chi_square(a, b), naive_chi_square(a, b), atol=1e-6)
    assert chi_square(a, a).diagonal().max() < 1e-6


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (6, 1), (13, 20), (20, 13)])
def test_warp_finds_the_cheapest_path(shape: tuple[int, int]) -> None:
    cost = np.random.default_rng(sum(shape)).random(shape)
    larger = np.random.default_rng(1).random((shape[0] + 3, shape[1] + 2))
    paths = [[(int(i), int(j)) for i, j in path] for path in warp([larger, cost])]
    path = paths[1]
    assert paths[0] == naive_warp(larger)[1]
    total, expected = naive_warp(cost)
    assert path == expected
    assert sum(cost[cell] for cell in path) == pytest.approx(total)


def test_one_to_one_keeps_the_cheapest_pair_of_each_point() -> None:
    cost = np.array([[3.0, 1.0, 9.0], [9.0, 2.0, 0.5]])
    pairs = np.array([[0, 0], [0, 1], [1, 1], [1, 2]])
    assert one_to_one(pairs, cost).tolist() == [[0, 1], [1, 2]]
    assert one_to_one(pairs[:3], cost).tolist() == [[0, 1]]


@pytest.mark.parametrize("seed", range(4))
def test_instability_is_the_whole_recipe(seed: int) -> None:
    a, b = (naive_contexts(random_points(10 * seed + k, 30 + 9 * k)) for k in (0, 1))
    assert instability([a, b])[0] == pytest.approx(naive_instability(a, b), abs=1e-5)


def test_instability_of_masks_is_the_whole_recipe() -> None:
    before, after = outline(ellipse()), outline(ellipse(30, (63, 49), (38, 24)))
    assert before is not None
    assert after is not None
    expected = naive_instability(naive_contexts(before), naive_contexts(after))
    assert instability([contour_descriptors(ellipse()), contour_descriptors(ellipse(30, (63, 49), (38, 24)))])[
        0
    ] == pytest.approx(expected, abs=2e-3)
    assert expected > 0.01


def test_many_pairs_give_what_each_gives_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = [naive_contexts(random_points(seed, 12 + 7 * seed)) for seed in range(6)]
    alone = [instability([a, b])[0] for a, b in pairwise(shapes)]
    for table in (1, 4000, 2**20):
        monkeypatch.setattr(temporal, "TABLE", table)
        assert instability(shapes).tolist() == alone


def blobs(seed: int, count: int) -> list[np.ndarray]:
    """Masks whose outlines change by steps of any size."""
    rng = np.random.default_rng(seed)
    field, masks = rng.random((90, 120)), []
    for _ in range(count):
        field = 0.9 * field + 0.1 * rng.random(field.shape)
        smooth = cv2.GaussianBlur(field, (0, 0), rng.uniform(2, 6))
        masks.append(smooth > np.quantile(smooth, rng.uniform(0.4, 0.95)))
    return masks


def test_t_stays_what_it_was() -> None:
    # written down before this was made fast
    expected = [1.406360417604, 1.968579292297, 1.569400727749, 1.590426564217, 1.561457812786, 1.563737392426]
    np.testing.assert_allclose(
        instability([contour_descriptors(mask) for mask in blobs(3, 7)]), expected, rtol=0, atol=1e-9
    )


def test_a_moving_rigid_outline_is_steady_and_a_changing_one_is_not() -> None:
    still = contour_descriptors(ellipse())
    assert instability([still, contour_descriptors(ellipse())])[0] == pytest.approx(0, abs=1e-5)
    assert instability([still, contour_descriptors(ellipse(centre=(66, 47)))])[0] == pytest.approx(0, abs=1e-2)
    torn = ellipse()
    torn[:, 50:60] = False
    assert instability([still, contour_descriptors(torn)])[0] > 0.2


def test_empty_masks_have_no_stability() -> None:
    empty = contour_descriptors(np.zeros((50, 60), bool))
    assert empty is None
    full = contour_descriptors(ellipse())
    assert np.isnan(instability([full, full, empty, full])).tolist() == [False, True, True]
    assert len(instability([full])) == len(instability([])) == 0


def test_a_single_pixel_is_an_outline() -> None:
    mask = np.zeros((50, 60), bool)
    mask[20, 30] = True
    assert outline(mask).tolist() == [[30, 20]]
    assert instability([contour_descriptors(mask), contour_descriptors(mask)])[0] == pytest.approx(0)


def test_outline_takes_the_longest_contour_and_leaves_no_long_segment() -> None:
    mask = ellipse()
    mask[2:6, 2:6] = True
    points = outline(mask)
    assert points.min() > 10
    assert np.hypot(*(np.roll(points, -1, axis=0) - points).T).max() <= 3 + 1e-9


def test_outline_is_the_polygon_with_the_most_corners_of_all() -> None:
    """A long plain contour has fewer corners than a short one with teeth."""
    for seed in range(20):
        noise = np.random.default_rng(seed).normal(size=(80, 90)).astype(np.float32)
        mask = cv2.GaussianBlur(noise, (0, 0), 3 + seed % 4) > 0.05
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        polygons = [cv2.approxPolyDP(cv2.approxPolyDP(c, 0.1, closed=True), 3.0, closed=True) for c in contours]
        assert len(polygons) > 2
        longest = max(polygons, key=len)[:, 0].astype(float)
        np.testing.assert_array_equal(outline(mask), resample(longest))


def test_resample_keeps_the_corners_and_divides_evenly() -> None:
    square = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 2.0], [0.0, 2.0]])
    points = resample(square)
    assert len(points) == 4 + 1 + 4 + 1
    np.testing.assert_allclose(points[:5], [[0, 0], [2.5, 0], [5, 0], [7.5, 0], [10, 0]])
    np.testing.assert_allclose(points[5], [10, 2])
