"""Z-VOS on drawn videos: the paper's mode, and the adapted one against its own prior."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from downstream.backbones.features import lab_features
from downstream.backbones.lattice import EVEN
from downstream.metrics.region import jaccard
from downstream.zero_shot.adapt import (
    CUTS,
    AdaptConfig,
    Flow,
    View,
    Watched,
    adapt,
    best_cut,
    foreground,
    levelled,
    log_odds,
    middles,
    principal,
    watch,
    without_clutter,
)
from downstream.zero_shot.main_object import segment_video, segment_video_by
from downstream.zero_shot.options import ZeroShotConfig
from downstream.zero_shot.sight import MugSight, reference_indices
from mug.backbone import Features
from mug.errors import InputError
from mug.grid import enlarge
from mug.media.masks import read_mask
from mug.media.pictures import fit_size
from mug.media.video import open_video
from mug.model import MuG
from mug.options import BackboneConfig, ModelConfig

SMALL = ZeroShotConfig(size=48)


@pytest.fixture(scope="module")
def model() -> MuG:
    torch.manual_seed(0)
    return MuG(ModelConfig(backbone=BackboneConfig(stages=2))).eval()


def _square(moving_squares, frames: int) -> Path:
    return moving_squares(videos=1, frames=frames) / "JPEGImages" / "480p" / "square0"


@pytest.mark.parametrize("mode", ["paper", "adapted"])
@pytest.mark.parametrize("frames", [1, 5])
def test_maps_are_probabilities_at_the_videos_size_and_repeat(moving_squares, model, mode, frames):
    video = open_video(_square(moving_squares, frames))
    config = ZeroShotConfig(mode=mode, size=40)
    first, second = (np.stack(list(segment_video(video, model, config))) for _ in range(2))
    assert first.shape == (frames, *video.size)
    assert first.dtype == np.float32
    assert ((first >= 0) & (first <= 1)).all()
    assert np.array_equal(first, second)


def test_global_random_state_is_left_alone(moving_squares, model):
    video = open_video(_square(moving_squares, 3))
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    list(segment_video(video, model, SMALL))
    assert torch.rand(1) == expected


def test_paper_mode_reads_v_on_the_globally_augmented_r(moving_squares, model):
    """Against phi, MuG Eq. 9-11 and v spelt out, densely."""
    video = open_video(_square(moving_squares, 6))
    config = ZeroShotConfig(mode="paper", size=48, references=3)
    got = list(segment_video(video, model, config))
    assert reference_indices(6, 3) == [1, 3, 5]
    with torch.no_grad():
        seen = [Features(*model.phi(torch.from_numpy(f).permute(2, 0, 1)[None].float() / 255)) for f in video]
        for index, references in ((0, (1, 3, 5)), (3, (1, 5))):
            q = seen[index].match[0].flatten(1).double()
            s = torch.cat([seen[i].match[0].flatten(1) for i in references], 1).double()
            v = torch.cat([seen[i].value[0].flatten(1) for i in references], 1).double()
            affinity = (q.T @ s / model.temperature.double()).softmax(1)
            x_new = (v @ affinity.T).view(seen[index].value[0].shape).float()
            expected = model.readout(torch.cat([x_new, seen[index].value[0]])[None]).sigmoid()
            expected = enlarge(expected, video.size, video.size, model.phi.stride)[0, 0]
            assert np.allclose(got[index], expected.numpy(), atol=1e-4)


def _overlap(maps: np.ndarray, truth: np.ndarray) -> float:
    found = maps > 0.5
    return float((found & truth).sum() / (found | truth).sum())


def _noisy_video(rng: np.random.Generator, frames: int = 12) -> tuple[Watched, np.ndarray]:
    """A red square on grey that moves 2 px a frame, and a prior that misses half of it and fires elsewhere."""
    size = (48, 72)
    pictures = rng.integers(100, 130, (frames, *size, 3), dtype=np.uint8)
    truth = np.zeros((frames, *size), bool)
    for t in range(frames):
        truth[t, 12:32, 10 + 2 * t : 30 + 2 * t] = True
    pictures[truth] = rng.integers((200, 40, 40), (220, 60, 60), (int(truth.sum()), 3))
    blocks = rng.random((frames, 6, 9)).repeat(8, 1).repeat(8, 2)
    prior = np.where(truth, np.where(blocks < 0.6, 0.9, 0.1), np.where(blocks < 0.15, 0.9, 0.1)).astype(np.float32)
    ahead = np.zeros((frames - 1, *size, 2), np.float16)
    ahead[truth[:-1]] = (2, 0)
    back = np.zeros_like(ahead)
    back[truth[1:]] = (-2, 0)
    phi = rng.normal(size=(frames, 6, 9, 4)).astype(np.float16)
    return Watched(pictures, prior, ahead, back, phi, EVEN), truth


def test_adapting_mends_a_noisy_prior():
    watched, truth = _noisy_video(np.random.default_rng(0))
    adapted = foreground(watched, AdaptConfig())
    assert _overlap(adapted, truth) > _overlap(watched.prior, truth) + 0.2


def test_evidence_travels_along_the_flow():
    watched, truth = _noisy_video(np.random.default_rng(1))
    evidence = np.zeros(truth.shape, np.float32)
    evidence[0][truth[0]] = 1.0
    carried = Flow(watched).carry(evidence, fresh=0.2)
    for t in range(1, 5):
        assert carried[t][truth[t]].mean() > 5 * carried[t][~truth[t]].mean()


def test_carry_weighs_frames_as_it_says():
    """Without motion, frame s counts (1 - fresh)^|t - s| in frame t."""
    rng = np.random.default_rng(2)
    watched, _ = _noisy_video(rng, frames=4)
    still = replace(watched, ahead=0 * watched.ahead, back=0 * watched.back)
    maps = rng.random((4, 48, 72), dtype=np.float32)
    weight = 0.7 ** np.abs(np.subtract.outer(range(4), range(4)))
    expected = np.einsum("ts,shw->thw", weight / weight.sum(1, keepdims=True), maps)
    assert np.allclose(Flow(still).carry(maps, fresh=0.3), expected, atol=1e-5)


def test_nothing_is_carried_where_flows_disagree():
    rng = np.random.default_rng(5)
    watched, _ = _noisy_video(rng, frames=4)
    torn = replace(watched, ahead=watched.ahead + 20, back=watched.back + 20)
    maps = rng.random((4, 48, 72), dtype=np.float32)
    assert np.allclose(Flow(torn).carry(maps, fresh=0.1), maps, atol=1e-4)


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


def test_the_cut_moves_to_the_outline_that_the_frame_shows():
    """A core that is sure, a rim that is not, and a frame whose edge is the rim's."""
    frames = np.full((4, 60, 80, 3), 60, np.uint8)
    frames[:, 15:45, 20:60] = (200, 150, 60)
    maps = np.full((4, 60, 80), 0.1, np.float32)
    maps[:, 15:45, 20:60] = 0.4
    maps[:, 17:43, 23:57] = 0.9
    assert 0.1 < best_cut(maps, frames, leeway=1.5) < 0.4
    assert best_cut(maps, frames, leeway=1.0) == pytest.approx(0.5, abs=0.11)
    frames[:, 15:45, 20:60] = 60
    frames[:, 17:43, 23:57] = (200, 150, 60)
    assert 0.4 < best_cut(maps, frames, leeway=1.5) < 0.9


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_flat_maps_are_cut_in_the_middle(level):
    maps, frames = np.full((2, 20, 30), level, np.float32), np.full((2, 20, 30, 3), 9, np.uint8)
    assert best_cut(maps, frames, leeway=1.0) in CUTS


def test_middles_follow_the_evidence():
    _, truth = _noisy_video(np.random.default_rng(3))
    x, y = middles(truth.astype(np.float32)).T
    assert np.allclose(y, 21.5, atol=0.1)
    assert np.allclose(np.diff(x[4:8]), 2, atol=0.25)


def test_principal_directions_are_white():
    r = torch.randn(3, 20, 5, 6) * torch.arange(1, 21).view(-1, 1, 1)
    flat = principal(r, 4).reshape(-1, 4)
    assert flat.shape == (90, 4)
    assert np.allclose(np.cov(flat.T, bias=True), np.eye(4), atol=1e-3)


def test_long_videos_are_worked_off_in_stretches(moving_squares, model):
    video = open_video(_square(moving_squares, 7))
    sight = MugSight(video, model, 48, 2)
    maps = [m for _, stretch in adapt(sight, AdaptConfig(stretch=3, steps=5)) for m in stretch]
    assert len(maps) == 7
    watched = watch(sight, range(2, 4), _flat_prior)
    assert np.array_equal(np.stack(maps[2:4]).shape, watched.prior.shape)


def _flat_prior(video, indices):
    for _ in indices:
        yield np.full(video.size, 100, np.uint8)


def test_a_flat_prior_gives_no_nan(moving_squares, model):
    sight = MugSight(open_video(_square(moving_squares, 3)), model, 48, 2)
    maps = np.concatenate([stretch for _, stretch in adapt(sight, AdaptConfig(steps=5), _flat_prior)])
    assert np.isfinite(maps).all()


def test_views_differ_in_what_they_see():
    watched, truth = _noisy_video(np.random.default_rng(4))
    colour, everything = View(watched, None), View(watched, truth.astype(np.float32))
    assert colour[0].shape == (48, 72, 9)
    assert everything[0].shape == (48, 72, 9 + 5 + 4)


def test_log_odds_are_finite_at_the_ends():
    assert np.isfinite(log_odds(np.array([0.0, 0.5, 1.0]))).all()


def test_sizes_keep_the_aspect_and_never_grow():
    assert fit_size((480, 854), 240) == (240, 427)
    assert fit_size((100, 60), 240) == (100, 60)


@pytest.mark.parametrize(("change", "says"), [({"size": 8}, "--size"), ({"references": 0}, "--references")])
def test_settings_out_of_range_are_named(moving_squares, model, change, says):
    video = open_video(_square(moving_squares, 2))
    with pytest.raises(InputError, match=says):
        list(segment_video(video, model, ZeroShotConfig(**change)))


def test_any_backbone_finds_what_moves(moving_squares):
    root = moving_squares(videos=1, frames=8, height=72, width=96)
    video = open_video(root / "JPEGImages" / "480p" / "square0")
    maps = list(segment_video_by(video, lab_features, torch.device("cpu"), ZeroShotConfig(size=72), 0.05))
    for map_hw, path in zip(maps, sorted((root / "Annotations/480p/square0").iterdir()), strict=True):
        assert map_hw.shape == video.size
        assert jaccard(map_hw > 0.5, read_mask(path) > 0) > 0.5


def test_off_the_surest_frame_is_not_carried(moving_squares, model, monkeypatch):
    video = open_video(_square(moving_squares, 4))
    monkeypatch.setattr("downstream.zero_shot.main_object.carry_surest", lambda frames, maps, *rest: 1 - maps)
    plain, carried = (
        np.stack(list(segment_video(video, model, replace(SMALL, carry=carry)))) for carry in (False, True)
    )
    assert np.allclose(plain, 1 - carried, atol=1e-6)
