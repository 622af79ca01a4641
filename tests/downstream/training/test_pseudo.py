"""Annotations that MuG makes for itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from downstream.training import pseudo
from downstream.training.annotated import annotated_videos
from mug.errors import InputError
from mug.media.masks import VOID, read_mask
from mug.media.video import Video, find_videos, open_video

Squares = Callable[..., Path]


def maps(video: Video, *_: Any) -> Iterator[np.ndarray]:
    """Unsure at the top, sure of an object below it; in the last frame sure that there is none."""
    for index in range(len(video)):
        map_hw = np.zeros(video.size, np.float32)
        map_hw[:5], map_hw[5:15] = 0.5, 0.9
        yield map_hw if index + 1 < len(video) else np.zeros_like(map_hw)


def test_an_excerpt_is_labelled_and_doubt_is_void(
    moving_squares: Squares, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pseudo, "segment_video", maps)
    video = moving_squares(videos=1, frames=10) / "JPEGImages/480p/square0"
    pseudo._label(open_video(video), tmp_path / "out", 4, None)
    (found,) = annotated_videos(tmp_path / "out")
    assert len(found) == 3  # of frames 3 to 6; the last one shows nothing
    mask = read_mask(tmp_path / "out/Annotations/480p/square0/00003.png")
    assert [int(mask[row, 0]) for row in (0, 5, 15)] == [VOID, 1, 0]


def test_the_real_thing_in_processes_of_its_own_and_what_is_there_stays(
    moving_squares: Squares, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = moving_squares(videos=1, frames=5, height=64, width=96)
    out = tmp_path / "out"
    pseudo.pseudo_annotations([root], out, 3)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.*")}
    assert len(list(out.glob("JPEGImages/480p/square0/*.jpg"))) == 3
    pseudo.pseudo_annotations([root], out, 3)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.*")} == before
    for path in out.glob("Annotations/480p/square0/*.png"):
        path.unlink()
    with pytest.raises(InputError, match="no object was found in any video"):
        pseudo.pseudo_annotations([root], out, 3)
    assert len(find_videos(out)) == 1


def test_a_video_that_cannot_be_read_is_left_out_and_named(
    moving_squares: Squares, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = moving_squares(videos=1, frames=5, height=64, width=96) / "JPEGImages/480p"
    (frames / "broken.mp4").write_bytes(b"no video")
    out = tmp_path / "out"
    pseudo.pseudo_annotations([frames], out, 3)
    assert [video.name for video in annotated_videos(out)] == ["square0"]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "broken.mp4: cannot be read" in said[0] and said[0].endswith("this video is left out")
