"""What the saliency prior finds."""

from __future__ import annotations

import numpy as np
import pytest

from mug.media.video import open_video
from mug.priors.manifold_ranking import cut_frame
from mug.priors.saliency import background, saliency, saliency_prior


def disc(height: int = 120, width: int = 160) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    mask = (x - 0.45 * width) ** 2 + (y - 0.5 * height) ** 2 < (0.22 * height) ** 2
    frame = np.where(mask[..., None], (210, 90, 40), (60, 110, 70)) + rng.normal(0, 6, (height, width, 3))
    return np.clip(frame, 0, 255).astype(np.uint8), mask


def test_what_leans_on_the_border_is_background():
    frame, mask = disc()
    pieces, lab = cut_frame(frame)
    back, inside = background(pieces, lab), pieces.mean(mask.astype(float))
    assert back[inside > 0.9].max() < 0.2 < 0.9 < back[inside < 0.1].min()


def test_salient_disc_is_found_where_one_half_is_the_cut(tmp_path):
    from PIL import Image

    frame, mask = disc()
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
