"""Files as users have them, through the commands."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from downstream.scoring.compare import names_of
from mug.cli import main
from mug.media.listing import visible
from mug.media.masks import read_mask
from tests.mug.media.test_video import write_clip

FRAMES, LABELS = Path("JPEGImages/480p"), Path("Annotations/480p")
Squares = Callable[..., Path]


def call(command: str, *arguments: object) -> int:
    mode = ["--mode", "paper"] if command == "segment" else []
    return main([command, *map(str, arguments), *mode, "--size", "48", "--device", "cpu"])


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in visible(folder))


# --- masks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["first.jpg", "soft.png"])
def test_a_soft_first_mask_is_one_object(
    form: str, moving_squares: Squares, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = moving_squares(videos=1, frames=3)
    shown = read_mask(root / LABELS / "square0/00000.png")
    image, path = Image.fromarray(shown * np.uint8(255)), root / form
    (image.filter(ImageFilter.GaussianBlur(0.7)) if form == "soft.png" else image).save(path)
    video, out = root / FRAMES / "square0", root / "out"
    assert call("propagate", video, "--mask", path, "--weights", weights, "--out", out) == 0
    assert [line for line in capsys.readouterr().err.splitlines() if form in line and "one half" in line]
    masks = [read_mask(out / "square0" / f"{t:05d}.png") for t in range(3)]
    assert {int(i) for mask in masks for i in np.unique(mask)} == {0, 1}
    assert (masks[0] != shown).mean() < 0.02


def test_a_soft_map_is_no_first_mask(
    moving_squares: Squares, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = moving_squares(videos=1, frames=3)
    Image.fromarray(np.linspace(0, 255, 48 * 64).astype(np.uint8).reshape(48, 64)).save(root / "map.png")
    arguments = (root / FRAMES / "square0", "--mask", root / "map.png", "--weights", weights, "--out", root / "out")
    assert call("propagate", *arguments) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "map.png: 256 grey levels make a soft map" in said[0]


# --- paths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("linked", ["into the dataset", "out of the dataset"])
def test_links_keep_the_users_names(linked: str, moving_squares: Squares, weights: Path) -> None:
    root = moving_squares(videos=1, frames=3)
    if linked == "into the dataset":
        video = root.parent / "dog"
        video.symlink_to(root / FRAMES / "square0")
    else:
        (root / FRAMES / "square0").rename(root.parent / "store")
        video = root / FRAMES / "dog"
        video.symlink_to(root.parent / "store")
        (root / LABELS / "square0").rename(root / LABELS / "dog")
    for command in ("propagate", "segment"):
        out = root.parent / command
        assert call(command, video, "--weights", weights, "--out", out) == 0
        assert written(out) == ["dog"] and len(written(out / "dog")) == 3


def test_results_that_are_compared_keep_the_users_names(tmp_path: Path) -> None:
    for name in ("17", "18"):
        (tmp_path / name).mkdir()
        (tmp_path / f"run{name}").symlink_to(tmp_path / name)
    assert names_of([tmp_path / "run17", tmp_path / "run18"]) == ["run17", "run18"]


def test_a_colon_is_a_letter(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip.mp4", 3).rename(tmp_path / "at 12:30.mp4")
    for video, out in ((Path("at 12:30.mp4"), Path("out")), (tmp_path / "at 12:30.mp4", Path("out:2"))):
        assert call("segment", video, "--weights", weights, "--out", out, "--overlay") == 0
        assert written(out) == ["at 12:30", "at 12:30.mp4"]


# --- many videos -----------------------------------------------------------------------------------------------------


def videos_with_bad_ones(root: Path) -> Path:
    frames = root / FRAMES
    (frames / "broken.mp4").write_bytes(b"no video")
    shutil.copytree(frames / "square0", frames / "halfway")
    (frames / "halfway/00002.jpg").write_bytes((frames / "halfway/00002.jpg").read_bytes()[:500])
    return frames


def test_segment_does_the_videos_that_can_be_read(
    moving_squares: Squares, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = moving_squares(videos=2, frames=4)
    out = root.parent / "out"
    assert call("segment", videos_with_bad_ones(root), "--weights", weights, "--out", out, "--overlay") == 2
    for name in ("square0", "square1"):
        assert len(written(out / name)) == 4 and (out / f"{name}.mp4").is_file()
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert said[0].startswith("mug: warning: broken: left out: ") and "broken.mp4: cannot be read as a video" in said[0]
    assert said[1].startswith("mug: warning: halfway: left out: ") and "00002.jpg" in said[1]
    assert said[2] == "mug: error: 2 of 4 videos could not be done: broken, halfway; the others are done"


def test_propagate_does_the_sequences_that_can_be_read(
    moving_squares: Squares, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = moving_squares(videos=3, frames=4)
    (root / LABELS / "square1/00000.png").write_bytes(b"no mask")
    (root / FRAMES / "square2/00000.jpg").write_bytes(b"no frame")
    out = root.parent / "out"
    assert call("propagate", root, "--weights", weights, "--out", out) == 2
    assert len(written(out / "square0")) == 4
    said = capsys.readouterr().err.splitlines()
    starts = ("mug: warning: square1: ", "mug: warning: square2: ", "mug: error: ")
    assert all(line.startswith(start) for line, start in zip(said, starts, strict=True))
    assert said[-1].endswith("2 of 3 videos could not be done: square1, square2; the others are done")


def test_a_folder_of_videos_with_a_bad_one_beside_the_annotations(
    moving_squares: Squares, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = moving_squares(videos=2, frames=3)
    (root / FRAMES / "broken.mp4").write_bytes(b"no video")
    out = root.parent / "out"
    assert call("propagate", root / FRAMES, "--weights", weights, "--out", out) == 2
    assert written(out) == ["square0", "square1"]
    assert "1 of 3 videos could not be done: broken; the others" in capsys.readouterr().err.splitlines()[-1]


def test_nothing_is_begun_where_nothing_can_be_read(
    moving_squares: Squares, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = moving_squares(videos=2, frames=3)
    for path in (root / FRAMES).rglob("*.jpg"):
        path.write_bytes(b"no frame")
    out = root.parent / "out"
    for command in ("segment", "propagate"):
        assert call(command, root / FRAMES, "--weights", weights, "--out", out) == 2
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 1 and "00000.jpg: cannot be decoded" in said[0]
    assert not out.exists()
