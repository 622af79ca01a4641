"""Manifold ranking against dense transcriptions, and what it finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mug.media.video import open_video
from mug.priors.manifold_ranking import (
    ALPHA,
    COLOUR_SPREAD,
    manifold_ranking,
    manifold_ranking_prior,
    ranking_matrix,
)
from mug.priors.superpixels import Superpixels

GRID = Superpixels(np.arange(35, dtype=np.int16).reshape(5, 7), 35)
LAB = np.random.default_rng(0).random((35, 3)) * 100


def test_ranking_matrix_is_yangs() -> None:
    """A = (D - alpha W)^-1, diagonal cleared, on the graph of neighbours, their neighbours and the closed border."""
    places = [(i // 7, i % 7) for i in range(35)]
    on_border = [y in (0, 4) or x in (0, 6) for y, x in places]
    distance = np.zeros((35, 35))
    for i, (y, x) in enumerate(places):
        for j, (v, u) in enumerate(places):
            if i != j and (abs(y - v) + abs(x - u) <= 2 or (on_border[i] and on_border[j])):
                distance[i, j] = np.sqrt(((LAB[i] - LAB[j]) ** 2).sum())
    weights = np.where(distance > 0, np.exp(-distance / distance.max() / COLOUR_SPREAD), 0)
    expected = np.linalg.inv(np.diag(weights.sum(axis=1)) - ALPHA * weights)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(ranking_matrix(GRID, LAB), expected, rtol=1e-9, atol=1e-12)


def test_both_stages_are_yangs() -> None:
    """One side after the other against the rest (Eq. 9, 10), then binary queries of what is above the mean."""
    rank = ranking_matrix(GRID, LAB)
    product = np.ones(35)
    for inside in (lambda y, x: y == 0, lambda y, x: y == 4, lambda y, x: x == 0, lambda y, x: x == 6):
        query = np.array([float(inside(i // 7, i % 7)) for i in range(35)])
        ranked = np.array([sum(rank[i, j] * query[j] for j in range(35)) for i in range(35)])
        product *= 1 - (ranked - ranked.min()) / (ranked.max() - ranked.min())
    ranked = rank @ (product > product.mean()).astype(float)
    expected = (ranked - ranked.min()) / (ranked.max() - ranked.min())
    np.testing.assert_allclose(manifold_ranking(GRID, LAB), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("radius", [0.1, 0.3])
def test_a_salient_disc_is_found_where_one_half_is_the_cut(tmp_path: Path, radius: float) -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:120, :160]
    mask = (x - 72) ** 2 + (y - 60) ** 2 < (radius * 120) ** 2
    frame = np.where(mask[..., None], (210, 90, 40), (60, 110, 70)) + rng.normal(0, 6, (120, 160, 3))
    for name in "ab":
        Image.fromarray(np.clip(frame, 0, 255).astype(np.uint8)).save(tmp_path / f"{name}.png")
    (found,) = manifold_ranking_prior(open_video(tmp_path), [1])
    assert found.shape == mask.shape and found.dtype == np.uint8
    assert ((found >= 128) & mask).sum() / ((found >= 128) | mask).sum() > 0.75


@pytest.mark.parametrize("size", [(3, 5), (17, 40), (64, 64)])
def test_plain_and_tiny_frames_give_finite_maps(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size[::-1], (90, 90, 90)).save(tmp_path / "a.png")
    (found,) = manifold_ranking_prior(open_video(tmp_path))
    assert found.shape == size
