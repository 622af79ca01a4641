"""Where the maps of a video are cut."""

from __future__ import annotations

import numpy as np
import pytest

from downstream.zero_shot.cut import CUTS, best_of, expected_cut, expected_overlap
from mug.media.refine import recut


def test_the_expected_overlap_is_the_ratio_of_expected_areas() -> None:
    map_hw = np.random.default_rng(0).random((7, 9)) ** 2
    for cut, found in zip(CUTS, expected_overlap(map_hw), strict=True):
        mask = map_hw > cut
        both = map_hw[mask].sum()
        either = mask.sum() + map_hw[~mask].sum()
        assert found == pytest.approx(both / either)


def test_the_cut_is_best_for_objects_drawn_from_the_map() -> None:
    rng = np.random.default_rng(1)
    maps = rng.beta(0.3, 1.5, (3, 40, 40))  # unsure, and mostly background
    objects = rng.random((400, 3, 40, 40)) < maps
    overlaps = []
    for cut in CUTS:
        masks = maps > cut
        overlaps.append(((masks & objects).sum((2, 3)) / (masks | objects).sum((2, 3))).mean())
    found = expected_cut(maps)
    assert found < 0.4
    assert overlaps[list(CUTS).index(found)] == pytest.approx(max(overlaps), abs=1e-3)
    assert sum(expected_overlap(m) for m in maps).max() / 3 == pytest.approx(max(overlaps), abs=5e-3)


def test_a_sure_map_is_cut_between_its_values_and_an_empty_one_anywhere() -> None:
    sure = np.full((20, 20), 0.02, np.float16)
    sure[5:9, 5:9] = 0.98
    assert 0.02 < expected_cut([sure]) < 0.98
    assert expected_cut([np.zeros((4, 4), np.float16)]) in CUTS
    assert expected_cut([np.ones((4, 4), np.float16)]) in CUTS


def test_all_frames_of_a_video_have_one_cut() -> None:
    maps = np.random.default_rng(2).random((5, 30, 30)).astype(np.float32) ** np.arange(1, 6)[:, None, None]
    assert expected_cut(maps) == best_of(np.mean([expected_overlap(m) for m in maps], 0))


@pytest.mark.parametrize("cut", [0.01, 0.3, 0.5, 0.9])
def test_after_it_was_moved_the_cut_is_a_half(cut: float) -> None:
    map_hw = np.random.default_rng(3).random((20, 30)).astype(np.float32)
    moved = recut(map_hw, cut)
    assert moved.dtype == np.float32 and moved.min() >= 0 and moved.max() <= 1
    assert np.array_equal(moved > 0.5, map_hw > cut)
    assert np.allclose(moved * (1 - map_hw) * cut, map_hw * (1 - moved) * (1 - cut), atol=1e-6)  # odds of one ratio
