"""Masks drawn over frames."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from mug.media.masks import PALETTE
from mug.media.overlay import OverlayWriter, blend
from mug.media.video import open_video


def test_blend_tints_objects_only() -> None:
    frame = np.full((1, 3, 3), 100, np.uint8)
    out = blend(frame, np.array([[0, 2, 255]], np.uint8), alpha=0.25)
    np.testing.assert_array_equal(out[0, 0], 100)
    np.testing.assert_array_equal(out[0, 1], np.rint(0.25 * PALETTE[2].astype(float) + 75))
    np.testing.assert_array_equal(out[0, 2], 100)


@pytest.mark.parametrize("encoders", [None, set()])
def test_overlay_plays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoders: set[str] | None) -> None:
    if encoders is not None:
        monkeypatch.setattr(av, "codecs_available", encoders)
    path = tmp_path / "out" / "o.mp4"
    frame, mask = np.full((35, 51, 3), 90, np.uint8), np.ones((35, 51), np.uint8)
    with OverlayWriter(path, 12.5, (35, 51)) as writer:
        for _ in range(7):
            writer.write(frame, mask)
        assert not path.exists()
    video = open_video(path)
    assert len(video) == 7 and video.size == (36, 52) and video.fps == 12.5
    assert np.abs(video[3].reshape(-1, 3).mean(0) - blend(frame, mask)[0, 0]).max() < 6


def test_failed_overlay_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a frame"), OverlayWriter(tmp_path / "o.mp4", 24, (32, 32)) as writer:
        writer.write(np.zeros((30, 32, 3), np.uint8), np.zeros((30, 32), np.uint8))
    assert not list(tmp_path.iterdir())
