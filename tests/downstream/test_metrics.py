"""J, F, mean, recall and decay against transcriptions pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest

from downstream.metrics.boundary import boundary_map, disk, f_measure, tolerance
from downstream.metrics.region import jaccard
from downstream.metrics.sequence import decay, statistics

EMPTY = np.zeros((30, 40), bool)
BLOCK = EMPTY.copy()
BLOCK[8:20, 10:25] = True


def blobs(seed: int, shape: tuple[int, int] = (37, 53), share: float = 0.5) -> np.ndarray:
    """Smooth random regions, some of which touch the image's edge."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((shape[0] // 6 + 1, shape[1] // 6 + 1)) < share
    return coarse.repeat(6, 0).repeat(6, 1)[: shape[0], : shape[1]]


def naive_boundary(mask: np.ndarray) -> set[tuple[int, int]]:
    height, width = mask.shape
    found = set()
    for y in range(height):
        for x in range(width):
            east, south = x + 1 < width, y + 1 < height
            if east and south:
                neighbours = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
            else:  # the last row looks east only, the last column south only
                neighbours = [(y, x + 1)] if east else [(y + 1, x)] if south else []
            if any(mask[n] != mask[y, x] for n in neighbours):
                found.add((y, x))
    return found


def naive_f(prediction: np.ndarray, truth: np.ndarray) -> float:
    predicted, true = naive_boundary(prediction), naive_boundary(truth)
    radius = math.ceil(0.008 * math.sqrt(truth.shape[0] ** 2 + truth.shape[1] ** 2))

    def share(a: set[tuple[int, int]], b: set[tuple[int, int]]) -> float:
        if not b:
            return 0.0
        steps = np.array(list(a))[:, None] - np.array(list(b))
        return float(((steps**2).sum(axis=2) <= radius**2).any(axis=1).mean())

    if not predicted and not true:
        return 1.0
    precision = share(predicted, true) if predicted else 1.0
    recall = share(true, predicted) if true else 1.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("seed", range(6))
def test_boundary_map_is_the_toolkits(seed: int) -> None:
    mask = blobs(seed)
    assert set(zip(*(index.tolist() for index in np.nonzero(boundary_map(mask))), strict=True)) == naive_boundary(mask)


@pytest.mark.parametrize(("height", "width"), [(37, 53), (130, 30), (64, 112)])
@pytest.mark.parametrize("seed", range(3))
def test_f_counts_the_boundary_pixels_near_the_other(seed: int, height: int, width: int) -> None:
    prediction, truth = blobs(seed, (height, width)), blobs(seed + 100, (height, width), share=0.3)
    assert f_measure(prediction, truth) == pytest.approx(naive_f(prediction, truth), abs=1e-12)
    moved = np.roll(truth, (2, -1), axis=(0, 1))
    assert f_measure(moved, truth) == pytest.approx(naive_f(moved, truth), abs=1e-12)


def test_f_of_a_small_object_that_touches_the_last_row_and_column() -> None:
    for place in (np.s_[25:30, 3:9], np.s_[4:9, 33:40], np.s_[25:30, 33:40], np.s_[29:30, 39:40], np.s_[:, :]):
        mask = EMPTY.copy()
        mask[place] = True
        assert f_measure(mask, BLOCK) == pytest.approx(naive_f(mask, BLOCK), abs=1e-12)
        assert f_measure(BLOCK, mask) == pytest.approx(naive_f(BLOCK, mask), abs=1e-12)


def test_tolerance_is_eight_pixels_at_480p() -> None:
    assert tolerance(480, 854) == 8
    assert tolerance(1080, 1920) == 18


@pytest.mark.parametrize("radius", [1, 2, 5, 8])
def test_disk_holds_what_lies_within_the_radius(radius: int) -> None:
    expected = [
        [x * x + y * y <= radius * radius for x in range(-radius, radius + 1)] for y in range(-radius, radius + 1)
    ]
    assert disk(radius).tolist() == np.array(expected, np.uint8).tolist()


def test_jaccard_is_intersection_over_union() -> None:
    a, b = blobs(1), blobs(2)
    both = sum(bool(p and q) for p, q in zip(a.ravel(), b.ravel(), strict=True))
    any_ = sum(bool(p or q) for p, q in zip(a.ravel(), b.ravel(), strict=True))
    assert jaccard(a, b) == both / any_


def test_empty_masks() -> None:
    assert jaccard(EMPTY, EMPTY) == 1.0
    assert f_measure(EMPTY, EMPTY) == 1.0
    for prediction, truth in ((EMPTY, BLOCK), (BLOCK, EMPTY)):
        assert jaccard(prediction, truth) == 0.0
        assert f_measure(prediction, truth) == 0.0


def test_a_full_mask_has_no_boundary() -> None:
    # P = 1 as nothing was drawn wrongly, R = 0 as nothing was found
    assert f_measure(~EMPTY, BLOCK) == 0.0
    assert f_measure(~EMPTY, EMPTY) == 1.0


def test_void_pixels_count_in_neither_mask() -> None:
    void = EMPTY.copy()
    void[:, 18:] = True
    strayed = BLOCK.copy()
    strayed[2:28, 30:38] = True
    assert jaccard(strayed, BLOCK) < 1
    assert jaccard(strayed, BLOCK, void) == 1.0
    assert f_measure(strayed, BLOCK) < 1
    assert f_measure(strayed, BLOCK, void) == 1.0
    a, b = blobs(3, EMPTY.shape), blobs(4, EMPTY.shape)
    assert f_measure(a, b, void) == pytest.approx(naive_f(a & ~void, b & ~void), abs=1e-12)
    assert jaccard(BLOCK, BLOCK, ~EMPTY) == 1.0


def half_up(value: float) -> int:
    return math.floor(value + 0.5)


@pytest.mark.parametrize("count", [*range(1, 11), 48, 78, 255, 256, 257, 600])
def test_decay_compares_first_and_last_quarter(count: int) -> None:
    values = np.random.default_rng(count).random(count)
    edges = [half_up(1 + (count - 1) * quarter / 4) - 1 for quarter in range(5)]
    first = [values[i] for i in range(edges[0], edges[1] + 1)]
    last = [values[i] for i in range(edges[3], edges[4] + 1)]
    assert decay(values) == pytest.approx(sum(first) / len(first) - sum(last) / len(last), abs=1e-12)


def test_decay_of_a_long_sequence_does_not_wrap_at_256_frames() -> None:
    values = np.concatenate([np.ones(300), np.zeros(300)])
    assert decay(values) == 1.0


def test_recall_is_the_share_strictly_above_a_half() -> None:
    scores = statistics([0.5, 0.6, 0.2, 0.9])
    assert scores["recall"] == 0.5
    assert scores["mean"] == pytest.approx(0.55)


def test_statistics_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="no frame"):
        statistics([])
