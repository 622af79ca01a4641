"""How far content has moved between a copy and its original."""

from __future__ import annotations

import cv2
import numpy as np

from pretrain.flow import moved

EYE = np.eye(2, 3)


def texture(seed: int) -> np.ndarray:
    """(120, 240, 3) uint8 that flow can hold on to."""
    noise = np.random.default_rng(seed).normal(0, 1, (120, 240, 3))
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.clip(127 + 500 * smooth, 0, 255).astype(np.uint8)


def test_a_shift_is_found_in_the_coordinates_of_the_original() -> None:
    wide = texture(0)
    original, shown = wide[:, 20:220], wide[:, 14:214]  # what is at x in `shown` is at x - 6 in `original`
    found = moved(shown, original, EYE, EYE, 64, 8).reshape(8, 8, 2)[2:-2, 2:-2]
    assert np.isfinite(found).mean() > 0.9
    np.testing.assert_allclose(np.nanmean(found, (0, 1)), [-2 * 6 / 200, 0], atol=0.005)
    turned = np.array([[0.0, -0.5, 0.1], [0.5, 0.0, 0.0]])  # the original's training frame: a turned quarter
    found = moved(shown, original, 0.5 * EYE, turned, 64, 8)
    np.testing.assert_allclose(np.nanmean(found, 0), [0, 2 * 2 * 6 / 200], atol=0.01)


def test_what_flow_cannot_follow_is_unknown() -> None:
    found = moved(texture(1), texture(2), EYE, EYE, 64, 8)
    assert np.isnan(found).any(1).mean() > 0.5
