"""What counts as a frame, a mask and a video in a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mug.errors import InputError
from mug.media import listing
from mug.media.files import prepare_output
from mug.media.listing import FRAME_SUFFIXES, OTHER_PICTURES, frame_files, mask_files, own_name, sequence_folders
from mug.media.video import find_videos, open_video

WRITABLE = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".JPG", ".Png")


def save(path: Path, size: tuple[int, int] = (24, 16)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 120, 30)).save(path)
    return path


@pytest.mark.parametrize("suffix", WRITABLE)
def test_common_pictures_are_frames(tmp_path: Path, suffix: str) -> None:
    for index in range(3):
        save(tmp_path / "seq" / f"{index}{suffix}")
    (video,) = find_videos(tmp_path)
    assert len(video) == 3 and video[2].shape == (16, 24, 3)


@pytest.mark.parametrize("suffix", sorted(OTHER_PICTURES))
def test_pictures_that_are_not_read_are_named(tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "seq").mkdir()
    (tmp_path / "seq" / f"1{suffix.upper()}").touch()
    for path in (tmp_path, tmp_path / "seq"):
        with pytest.raises(InputError, match=rf"seq: holds no (frame|video) but 1 \{suffix}"):
            find_videos(path)
    with pytest.raises(InputError, match="is a single picture, no video"):
        open_video(tmp_path / "seq" / f"1{suffix.upper()}")
    save(tmp_path / "seq" / "0.jpg")
    assert len(open_video(tmp_path / "seq")) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "its 1 frames are read" in said and f"1 {suffix}" in said


def test_all_kinds_that_are_read_may_lie_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index, suffix in enumerate((".jpg", ".webp", ".PNG", ".tiff")):
        save(tmp_path / f"{index}{suffix}")
    assert list(open_video(tmp_path).frame_names) == ["0", "1", "2", "3"]
    assert capsys.readouterr().err == ""


def test_a_video_beside_frames_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "poster.jpg")
    (tmp_path / "clip.MP4").touch()
    find_videos(tmp_path)
    assert "1 .mp4" in capsys.readouterr().err


def test_hidden_files_and_folders_are_nothing(tmp_path: Path) -> None:
    for place in ("dog/0.png", "dog/._0.png", "dog/.ipynb_checkpoints/0.png", ".ipynb_checkpoints/0.png"):
        save(tmp_path / place)
    save(tmp_path / "__MACOSX" / "dog" / "._1.png")
    (tmp_path / "._clip.mp4").touch()
    assert [video.name for video in find_videos(tmp_path)] == ["dog"]
    assert len(find_videos(tmp_path)[0]) == 1
    assert sequence_folders(tmp_path) == ["dog"]
    assert list(mask_files(tmp_path / "dog")) == ["0"]
    hidden = tmp_path / ".ipynb_checkpoints"
    assert len(open_video(hidden)) == 1  # unless the user says so


def test_a_folder_with_nothing_but_hidden_files_is_empty(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").touch()
    prepare_output(tmp_path, overwrite=False)


def test_suffixes_count_in_any_case(tmp_path: Path) -> None:
    for name in ("2.PNG", "10.png", "1.Png"):
        save(tmp_path / "dog" / name)
    assert list(mask_files(tmp_path / "dog")) == ["1", "2", "10"]
    assert sequence_folders(tmp_path) == ["dog"]
    assert [path.name for path in frame_files(tmp_path / "dog")] == ["1.Png", "2.PNG", "10.png"]


def test_no_suffix_is_of_two_kinds() -> None:
    kinds = (FRAME_SUFFIXES, OTHER_PICTURES, listing.FILE_SUFFIXES)
    assert sum(map(len, kinds)) == len(frozenset().union(*kinds))


def test_one_of_several_that_cannot_be_read_says_so_when_it_is_read(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        save(tmp_path / name / "0.png")
    (tmp_path / "b" / "0.png").write_bytes(b"no image")
    (tmp_path / "d.mp4").write_bytes(b"no video")
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "0.heic").touch()
    videos = find_videos(tmp_path)
    assert [video.name for video in videos] == ["a", "b", "c", "d", "e"]
    assert [np.shape(videos[i][0]) for i in (0, 2)] == [(16, 24, 3)] * 2
    for video, reason in zip((videos[1], *videos[3:]), (r"b/0\.png", r"d\.mp4", r"e: .*1 \.heic"), strict=True):
        for use in (len, list, lambda v: v[0], lambda v: v.size, lambda v: v.frame_names, lambda v: v.fps):
            with pytest.raises(InputError, match=reason):
                use(video)
        assert "Unreadable" in repr(video)


def test_a_link_has_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "store" / "0017" / "0.png")
    (tmp_path / "dog").symlink_to(tmp_path / "store" / "0017")
    assert open_video(tmp_path / "dog").name == "dog"
    monkeypatch.chdir(tmp_path / "store" / "0017")
    assert open_video(Path(".")).name == "0017"
    assert own_name(Path("..")) == "store"
