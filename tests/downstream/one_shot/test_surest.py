"""Z-VOS by O-VOS: what one frame is sure of helps those that are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from downstream.backbones.features import lab_features
from downstream.metrics.region import jaccard
from downstream.one_shot import surest as module
from downstream.one_shot.protocols import PRESETS
from downstream.one_shot.surest import carry_surest, surest

CONFIG = replace(PRESETS["mug"], size=None, temperature=1e-4)


def clip(frames: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """A reddish square on greenish noise, two pixels further each frame."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 90, (16, 24)).repeat(4, 0).repeat(4, 1)
    video, masks = [], np.zeros((frames, 64, 96), bool)
    for t in range(frames):
        frame = np.stack([noise // 2, 90 + noise, noise], -1).astype(np.uint8)
        masks[t, 20:44, 10 + 2 * t : 34 + 2 * t] = True
        frame[masks[t]] = (190, 40, 40)
        video.append(frame)
    return np.stack(video), masks


def test_the_surest_frame_is_that_of_the_best_expected_overlap() -> None:
    """Against the expectation of J by drawing masks from the map."""
    rng = np.random.default_rng(1)
    maps = np.stack([1 / (1 + np.exp(-spread * rng.standard_normal((12, 16)) + 1)) for spread in (1.0, 4.0, 2.0)])
    expected = []
    for likely in maps:
        draws = rng.random((400, *likely.shape)) < likely
        expected.append(np.mean([jaccard(likely > 0.5, draw) for draw in draws]))
    assert surest(maps) == int(np.argmax(expected)) == 1


def test_frames_that_see_little_are_filled_from_the_surest_and_both_ways() -> None:
    frames, masks = clip()
    rng = np.random.default_rng(2)
    maps = np.where(masks, 0.6, 0.35) + rng.normal(0, 0.12, masks.shape)
    maps[4] = np.where(masks[4], 0.95, 0.05)
    maps = np.clip(maps, 0.02, 0.98).astype(np.float32)
    carried = carry_surest(frames, maps, lab_features, CONFIG)
    assert carried.shape == maps.shape and carried.dtype == np.float32
    assert np.array_equal(carried[4], maps[4])
    for t in (0, 2, 6, 8):
        before, after = (jaccard(m[t] > 0.5, masks[t]) for m in (maps, carried))
        assert after > before + 0.05, t


def test_maps_in_which_nothing_is_found_stay_as_they_are() -> None:
    frames, masks = clip(3)
    maps = np.full(masks.shape, 0.2, np.float32)
    assert np.array_equal(carry_surest(frames, maps, lab_features, CONFIG), maps)


def test_each_frame_hears_its_own_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """In both orders: the maps are replayed beside the frames that they belong to."""
    frames, masks = clip(5)
    maps = np.where(masks, 0.8, 0.1).astype(np.float32)
    maps[2] = np.where(masks[2], 0.95, 0.05)
    heard = []
    plain = module._replayed

    def recorded(maps_thw: np.ndarray, order: range) -> module.Motion:
        motion = plain(maps_thw, order)
        return lambda frame: heard.append((frame.copy(), motion(frame))) or heard[-1][1]

    monkeypatch.setattr(module, "_replayed", recorded)
    carry_surest(frames, maps, lab_features, CONFIG)
    assert len(heard) == 3 + 3
    for frame, map_hw in heard:
        t = next(i for i in range(5) if np.array_equal(frames[i], frame))
        assert np.allclose(map_hw / 255, maps[t], atol=1 / 255)


def test_a_single_frame() -> None:
    frames, masks = clip(1)
    maps = np.where(masks, 0.9, 0.1).astype(np.float32)
    assert np.array_equal(carry_surest(frames, maps, lab_features, CONFIG), maps)
