"""The adapted mode: evidence and readouts against a noisy prior."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from downstream.zero_shot.adapt import AdaptConfig, adapt, adapted_probabilities, without_clutter
from downstream.zero_shot.log_odds import levelled, log_odds
from downstream.zero_shot.readouts import ReadoutConfig
from downstream.zero_shot.sight import MugSight
from downstream.zero_shot.views import View, middles
from downstream.zero_shot.watched import principal, watch
from tests.downstream.zero_shot.drawn import noisy_video, overlap

QUICK = ReadoutConfig(steps=5)


def test_adapting_mends_a_noisy_prior():
    watched, truth = noisy_video(np.random.default_rng(0))
    adapted = adapted_probabilities(watched, AdaptConfig())
    assert overlap(adapted, truth) > overlap(watched.prior, truth) + 0.2


def test_small_parts_beside_the_main_one_are_dropped():
    maps = np.full((2, 30, 40), 0.1, np.float32)
    maps[:, 5:15, 5:15] = 0.9
    maps[0, 20:24, 20:24] = 0.9
    maps[1, 20:28, 20:29] = 0.9
    kept = without_clutter(maps, 0.4) > 0.5
    assert not kept[0, 20:].any()
    assert np.array_equal(kept[1], maps[1] > 0.5)
    assert kept[0].sum() == 100


def test_levelled_odds_leave_the_share_asked_for():
    odds = np.random.default_rng(6).normal(-3, 1, (3, 40, 50)).astype(np.float32)
    assert (levelled(odds, 0.2) > 0).mean() == pytest.approx(0.2, abs=0.02)
    assert np.array_equal(levelled(odds, 0.0), odds)


def test_log_odds_are_finite_at_the_ends():
    assert np.isfinite(log_odds(np.array([0.0, 0.5, 1.0]))).all()


def test_middles_follow_the_evidence():
    _, truth = noisy_video(np.random.default_rng(3))
    x, y = middles(truth.astype(np.float32)).T
    assert np.allclose(y, 21.5, atol=0.1)
    assert np.allclose(np.diff(x[4:8]), 2, atol=0.25)


def test_views_differ_in_what_they_see():
    watched, truth = noisy_video(np.random.default_rng(4))
    colour, everything = View(watched, None), View(watched, truth.astype(np.float32))
    assert colour[0].shape == (48, 72, 9)
    assert everything[0].shape == (48, 72, 9 + 5 + 4)


def test_principal_directions_are_white():
    r = torch.randn(3, 20, 5, 6) * torch.arange(1, 21).view(-1, 1, 1)
    flat = principal(r, 4).reshape(-1, 4)
    assert flat.shape == (90, 4)
    assert np.allclose(np.cov(flat.T, bias=True), np.eye(4), atol=1e-3)


def test_long_videos_are_worked_off_in_stretches(square, model):
    video = square(7)
    sight = MugSight(video, model, 48, 2)
    maps = [m for _, stretch in adapt(sight, AdaptConfig(stretch=3, readout=QUICK)) for m in stretch]
    assert len(maps) == 7
    watched = watch(sight, range(2, 4), _flat_prior)
    assert np.array_equal(np.stack(maps[2:4]).shape, watched.prior.shape)


def _flat_prior(video, indices):
    for _ in indices:
        yield np.full(video.size, 100, np.uint8)


def test_a_flat_prior_gives_no_nan(square, model):
    sight = MugSight(square(3), model, 48, 2)
    maps = np.concatenate([stretch for _, stretch in adapt(sight, AdaptConfig(readout=QUICK), _flat_prior)])
    assert np.isfinite(maps).all()
