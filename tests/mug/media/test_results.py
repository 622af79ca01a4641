"""Where results go, and what may be written over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mug.errors import InputError
from mug.media.results import Results
from mug.media.video import open_video


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    folder = tmp_path / "clip"
    folder.mkdir()
    for index in range(3):
        Image.new("RGB", (32, 24), (80 * index, 90, 100)).save(folder / f"{index:05d}.jpg")
    return folder


def test_masks_maps_and_a_movie(frames: Path, tmp_path: Path) -> None:
    video = open_video(frames)
    results = Results(tmp_path / "out", ["clip"], beside=["raw", "soft"], overlay=True)
    masks = [np.full((24, 32), index, np.uint8) for index in range(3)]
    results.write_video(video, iter(masks))
    results.write_raw("clip", "00001", masks[1])
    results.write_soft("clip", "00001", np.full((24, 32), 0.2, np.float32))
    assert [int(np.asarray(Image.open(path)).max()) for path in sorted((tmp_path / "out/clip").iterdir())] == [0, 1, 2]
    assert np.asarray(Image.open(tmp_path / "out/raw/clip/00001.png")).all()
    assert (np.asarray(Image.open(tmp_path / "out/soft/clip/00001.png")) == 51).all()
    assert (tmp_path / "out/clip.mp4").stat().st_size > 0


def test_a_movie_is_written_over_on_request_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/clip.mp4").write_text("of somebody")
    with pytest.raises(InputError, match=r"clip\.mp4: is there already"):
        Results(tmp_path / "out", ["clip"], overlay=True)
    assert not (tmp_path / "out/clip").exists()
    Results(tmp_path / "out", ["clip"])
    Results(tmp_path / "out", ["clip"], overlay=True, overwrite=True)


def test_nothing_is_made_where_anything_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "out/b").mkdir(parents=True)
    (tmp_path / "out/b/00000.png").write_text("")
    with pytest.raises(InputError, match="already holds results"):
        Results(tmp_path / "out", ["b", "a"])


@pytest.mark.parametrize("name", ["raw", "soft"])
def test_names_of_what_is_kept_beside_are_taken(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="would mix"):
        Results(tmp_path / "out", [name], beside=[])
    Results(tmp_path / "out", [name])
