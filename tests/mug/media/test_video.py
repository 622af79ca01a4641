"""Folders of frames and video files, good and bad."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from mug.errors import InputError
from mug.media.pictures import read_frame
from mug.media.video import FrameFolder, find_videos, open_video

CONTAINERS = {"mp4": "libx264", "mov": "libx264", "mkv": "libx264", "avi": "mpeg4", "webm": "libvpx-vp9"}


def picture(index: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """A frame whose brightness tells its number, dark at the top right."""
    frame = np.full((*size, 3), 40 + 4 * index, np.uint8)
    frame[: size[0] // 2, size[1] // 2 :] = 0
    return frame


def number(frame: np.ndarray) -> int:
    """Which `picture` a frame is, whatever compression did to it."""
    return round((float(np.median(frame[-8:, :8])) - 40) / 4)


def write_clip(path: Path, frames: int, codec: str = "libx264", size: tuple[int, int] = (48, 64)) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        stream.gop_size = 8
        if codec == "libx264":
            stream.options = {"bf": "2", "crf": "10"}
        elif codec == "mpeg4":
            stream.bit_rate = 1_000_000
        else:
            stream.options = {"crf": "10", "cpu-used": "8", "deadline": "realtime"}
        for i in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(i, size), format="rgb24")))
        container.mux(stream.encode())
    return path


def write_folder(path: Path, names: list[str]) -> Path:
    path.mkdir(parents=True)
    for i, name in enumerate(names):
        Image.fromarray(picture(i)).save(path / name)
    return path


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_every_container_streams_and_seeks(tmp_path: Path, suffix: str) -> None:
    video = open_video(write_clip(tmp_path / f"clip.{suffix}", 30, CONTAINERS[suffix]))
    assert (video.name, len(video), video.size, video.fps) == ("clip", 30, (48, 64), 10)
    assert list(video.frame_names[:2]) == ["00000", "00001"]
    assert [number(frame) for frame in video] == list(range(30))
    for index in (29, 7, 8, 9, 0, 21, 20, -2):
        assert number(video[index]) == index % 30
    assert [number(frame) for frame in video[4:8:2]] == [4, 6]
    assert video[0].dtype == np.uint8 and video[0].flags["C_CONTIGUOUS"]
    with pytest.raises(IndexError):
        video[30]


def test_stamps_that_do_not_rise_are_not_believed(tmp_path: Path) -> None:
    video = open_video(write_clip(tmp_path / "clip.avi", 12, "libx264"))  # with B-frames, which AVI has no stamps for
    assert [number(frame) for frame in video] == list(range(12))
    assert len(video) == 12 and [number(video[i]) for i in (11, 3, 4)] == [11, 3, 4]


def test_streaming_keeps_one_frame(tmp_path: Path) -> None:
    size = (480, 640)
    video = open_video(write_clip(tmp_path / "clip.mp4", 40, size=size))
    tracemalloc.start()
    for _ in video:
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * size[0] * size[1] * 3


def test_display_rotation_is_applied(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "phone.mp4", 3)
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    quarter = np.array([0, 0x10000, 0, -0x10000, 0, 0, 48 * 0x10000, 0, 0x40000000], ">i4")  # clockwise when shown
    data[matrix : matrix + 36] = quarter.tobytes()
    path.write_bytes(data)
    video = open_video(path)
    assert video.size == (64, 48)
    assert np.abs(video[1].astype(int) - np.rot90(picture(1), -1)).mean() < 6


def test_truncated_clip_yields_what_is_there(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mkv", 40, size=(96, 128))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    video = open_video(path)
    assert 0 < len(video) < 40
    whole = len(video) - 1  # the last packet is cut in two
    assert [number(video[i]) for i in range(whole)] == list(range(whole))


@pytest.mark.parametrize("content", [b"", b"not a video at all" * 100])
def test_no_video_inside(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.mp4: cannot be read as a video"):
        open_video(path)


def test_no_decodable_frame(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "noise.avi", 4, "mpeg4")
    data = bytearray(path.read_bytes())
    start, end = data.index(b"movi"), data.index(b"idx1")
    data[start + 12 : end] = bytes(end - start - 12)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"noise\.avi"):
        open_video(path)


def test_sound_without_pictures(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(InputError, match=r"song\.mp4: has no video stream"):
        open_video(path)


def test_frames_are_sorted_naturally_and_made_rgb(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "seq", ["f1.png", "f2.bmp", "f10.JPG"])
    Image.fromarray(picture(1)).convert("L").save(folder / "f2.bmp")
    Image.fromarray(picture(0)).convert("RGBA").save(folder / "f1.png")
    (folder / "notes.txt").touch()
    (folder / "._f3.png").touch()
    video = open_video(folder)
    assert isinstance(video, FrameFolder)
    assert (video.name, list(video.frame_names)) == ("seq", ["f1", "f2", "f10"])
    assert [number(frame) for frame in video] == [0, 1, 2]
    assert {frame.shape for frame in video} == {(48, 64, 3)}


def test_colours_keep_their_order(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (200, 10, 60)).save(tmp_path / "0.png")
    np.testing.assert_array_equal(read_frame(tmp_path / "0.png")[0, 0], (200, 10, 60))


def test_reduced_decoding_keeps_the_shorter_side(tmp_path: Path) -> None:
    path = tmp_path / "big.jpg"
    Image.fromarray(picture(3, (480, 854))).save(path)
    small = read_frame(path, shorter=200)
    assert small.shape[:2] == (240, 427) and number(small) == 3
    assert read_frame(path, shorter=500).shape[:2] == (480, 854)


@pytest.mark.parametrize("size", [(50, 64), (48, 62)])
def test_other_size_is_refused_by_name(tmp_path: Path, size: tuple[int, int]) -> None:
    folder = write_folder(tmp_path / "seq", ["0.png", "1.png"])
    Image.fromarray(picture(0, size)).save(folder / "2.png")
    video = open_video(folder)
    with pytest.raises(InputError, match=rf"2\.png: is {size[1]}x{size[0]}, the first frame of its video 64x48"):
        list(video)


@pytest.mark.parametrize("keep", [0, 1, 30, 0.5, 0.9, -30, -2, -1])
def test_truncated_jpeg_is_refused_by_name(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "cut.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else int(keep)])
    with pytest.raises(InputError, match=r"cut\.jpg: .*truncated"):
        read_frame(path)


def test_bad_frames_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(InputError, match=r"text\.png: cannot be decoded"):
        read_frame(tmp_path / "text.png")
    cv2.imwrite(str(tmp_path / "deep.png"), np.ones((4, 4), np.uint16))
    with pytest.raises(InputError, match=r"deep\.png: holds 16 bits"):
        read_frame(tmp_path / "deep.png")
    with pytest.raises(InputError, match=r"gone\.png: no such frame"):
        read_frame(tmp_path / "gone.png")


def test_missing_empty_and_strange_paths(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        open_video(tmp_path / "gone")
    with pytest.raises(InputError, match="holds no frame"):
        open_video(tmp_path)
    with pytest.raises(InputError, match="holds no video"):
        find_videos(tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        find_videos(tmp_path / "gone")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"notes\.txt: is no video"):
        find_videos(tmp_path / "notes.txt")


def test_two_frames_of_one_name(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "seq", ["0.png", "0.jpg"])
    with pytest.raises(InputError, match="two frames named 0"):
        open_video(folder)


def test_videos_are_found_with_unique_names(tmp_path: Path) -> None:
    root = tmp_path / "videos"
    write_folder(root / "b2", ["0.png"])
    write_folder(root / "b10", ["0.png"])
    write_folder(root / ".hidden", ["0.png"])
    (root / "empty").mkdir()
    write_clip(root / "a.mp4", 3)
    write_clip(root / "a.mkv", 3)
    write_clip(root / "c.mp4", 3)
    assert [v.name for v in find_videos(root)] == ["a.mkv", "a.mp4", "b2", "b10", "c"]
    assert [v.name for v in find_videos(root / "b2")] == ["b2"]
    assert [v.name for v in find_videos(root / "c.mp4")] == ["c"]


@pytest.mark.parametrize("under", ["JPEGImages/480p", "JPEGImages"])
def test_dataset_roots(tmp_path: Path, under: str) -> None:
    for name in ("bear", "dog"):
        write_folder(tmp_path / under / name, ["00000.jpg", "00001.jpg"])
        write_folder(tmp_path / under.replace("JPEGImages", "Annotations") / name, ["00000.png"])
    assert [(v.name, len(v)) for v in find_videos(tmp_path)] == [("bear", 2), ("dog", 2)]


def test_real_clips(real_data: Path) -> None:
    path = min((real_data / "unlabeled").glob("*.mp4"), key=lambda p: p.stat().st_size)
    video = open_video(path)
    frames = list(video)
    assert len(frames) == len(video)
    for index in (len(video) - 1, len(video) // 2, 0):
        np.testing.assert_array_equal(video[index], frames[index])
