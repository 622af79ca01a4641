"""Pictures the right way up, and where a picture ends."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mug.errors import InputError
from mug.media.pictures import is_whole, picture_size, read_frame


def shown() -> np.ndarray:
    """A frame of 32x48 with a corner that is bright and an edge that is not black, so that each of 8 turns differs."""
    frame = np.zeros((32, 48, 3), np.uint8)
    frame[:8, :16] = 240
    frame[8:16, :16] = 120
    return frame


def stored(orientation: int) -> np.ndarray:
    """How a camera that was held so stores the frame."""
    frame = shown()
    return {
        1: frame,
        2: frame[:, ::-1],
        3: frame[::-1, ::-1],
        4: frame[::-1],
        5: frame.transpose(1, 0, 2),
        6: np.rot90(frame),
        7: frame.transpose(1, 0, 2)[::-1, ::-1],
        8: np.rot90(frame, -1),
    }[orientation]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    path = tmp_path / f"f.{suffix}"
    options = {"quality": 95} if suffix in ("jpg", "webp") else {}
    Image.fromarray(np.ascontiguousarray(stored(orientation))).save(path, exif=exif, **options)
    frame = read_frame(path)
    assert frame.shape == (32, 48, 3) and picture_size(path) == (32, 48)
    assert np.abs(frame.astype(int) - shown()).mean() < 5
    if suffix == "jpg":
        assert read_frame(path, shorter=16).shape == (16, 24, 3)


@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_an_orientation_that_means_nothing_turns_nothing(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    Image.fromarray(shown()).save(tmp_path / "f.jpg", exif=exif)
    assert read_frame(tmp_path / "f.jpg").shape == (32, 48, 3)


def test_broken_exif_data_turn_nothing(tmp_path: Path) -> None:
    Image.fromarray(shown()).save(tmp_path / "f.jpg", exif=b"Exif\x00\x00II*\x00\xff\xff")
    assert read_frame(tmp_path / "f.jpg").shape == (32, 48, 3)


def jpeg(**options: object) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "JPEG", **options)
    return file.getvalue()


FORMS = {
    "baseline": jpeg(),
    "progressive": jpeg(progressive=True),
    "with restarts": jpeg(restart_marker_rows=1),
    "with a thumbnail": jpeg(exif=b"Exif\x00\x00" + jpeg()[:4000] + b"\xff\xd9"),
}
BEHIND = {
    "a video": b"\x00\x00\x00\x18ftypmp42" + bytes(range(256)) * 64,
    "padding": bytes(10000),
    "another picture": jpeg(),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("behind", BEHIND)
def test_data_behind_the_end_marker_of_a_jpeg_do_not_matter(tmp_path: Path, form: str, behind: str) -> None:
    (tmp_path / "f.jpg").write_bytes(FORMS[form] + BEHIND[behind])
    assert is_whole(tmp_path / "f.jpg")
    assert read_frame(tmp_path / "f.jpg").shape == (64, 64, 3)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cut", [1, 2, 40, 1500])
def test_a_jpeg_without_its_end_is_not_whole(tmp_path: Path, form: str, cut: int) -> None:
    (tmp_path / "f.jpg").write_bytes(FORMS[form][:-cut])
    assert not is_whole(tmp_path / "f.jpg")
    with pytest.raises(InputError, match=r"f\.jpg: .*truncated"):
        read_frame(tmp_path / "f.jpg")


def test_a_png_ends_where_it_says(tmp_path: Path) -> None:
    path = tmp_path / "f.png"
    Image.fromarray(shown()).save(path)
    data = path.read_bytes()
    for ending, whole in ((data + b"more", True), (data[:-1], False), (data[:-12], False), (data[:60], False)):
        path.write_bytes(ending)
        assert is_whole(path) == whole
    path.write_bytes(data + b"more")
    np.testing.assert_array_equal(read_frame(path), shown())
