"""The cut of a video's maps follows the edges of its frames."""

from __future__ import annotations

import numpy as np
import pytest

from downstream.zero_shot.outline import TRIED, best_cut


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
    assert best_cut(maps, frames, leeway=1.0) in TRIED
