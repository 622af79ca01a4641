"""Manifold ranking against a dense transcription, and what it finds."""

from __future__ import annotations

import numpy as np
import pytest

from mug.priors.saliency import ALPHA, COLOUR_SPREAD, background, cut_frame, ranking_matrix, saliency, saliency_prior
from mug.priors.superpixels import Superpixels
from mug.video import open_video


def _disc(height: int = 120, width: int = 160) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    mask = (x - 0.45 * width) ** 2 + (y - 0.5 * height) ** 2 < (0.22 * height) ** 2
    frame = np.where(mask[..., None], (210, 90, 40), (60, 110, 70)) + rng.normal(0, 6, (height, width, 3))
    return np.clip(frame, 0, 255).astype(np.uint8), mask


def test_ranking_matrix_is_yangs():
    """A = (D - alpha W)^-1, diagonal cleared, on the graph of neighbours, their neighbours and the closed border."""
    pieces = Superpixels(np.arange(35, dtype=np.int16).reshape(5, 7), 35)
    lab = np.random.default_rng(0).random((35, 3)) * 100
    places = [(i // 7, i % 7) for i in range(35)]
    on_border = [y in (0, 4) or x in (0, 6) for y, x in places]
    distance = np.zeros((35, 35))
    for i, (y, x) in enumerate(places):
        for j, (v, u) in enumerate(places):
            if i != j and (abs(y - v) + abs(x - u) <= 2 or (on_border[i] and on_border[j])):
                distance[i, j] = np.sqrt(((lab[i] - lab[j]) ** 2).sum())
    weights = np.where(distance > 0, np.exp(-distance / distance.max() / COLOUR_SPREAD), 0)
    expected = np.linalg.inv(np.diag(weights.sum(axis=1)) - ALPHA * weights)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(ranking_matrix(pieces, lab), expected, rtol=1e-9, atol=1e-12)


def test_what_leans_on_the_border_is_background():
    frame, mask = _disc()
    pieces, lab = cut_frame(frame)
    back, inside = background(pieces, lab), pieces.mean(mask.astype(float))
    assert back[inside > 0.9].max() < 0.2 < 0.9 < back[inside < 0.1].min()


def test_salient_disc_is_found_where_one_half_is_the_cut(tmp_path):
    from PIL import Image

    frame, mask = _disc()
    assert saliency(frame)[mask].mean() > 5 * saliency(frame)[~mask].mean()
    for name in "ab":
        Image.fromarray(frame).save(tmp_path / f"{name}.png")
    maps = list(saliency_prior(open_video(tmp_path)))
    assert len(maps) == 2 and maps[0].shape == mask.shape and maps[0].dtype == np.uint8
    found = maps[1] >= 128
    assert (found & mask).sum() / (found | mask).sum() > 0.8


@pytest.mark.parametrize("size", [(3, 5), (17, 40), (64, 64)])
def test_plain_and_tiny_frames_give_finite_maps(size):
    frame = np.full((*size, 3), 90, np.uint8)
    soft = saliency(frame)
    assert soft.shape == size and np.isfinite(soft).all()
