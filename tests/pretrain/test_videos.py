"""Training videos in the layouts of the data sets in use, each made in miniature."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import pretrain.unpack
import pretrain.videos
from mug.errors import InputError
from mug.media.video import VideoFile
from pretrain.videos import VideoIndex


def make_frames(folder: Path, names: Sequence[str], size: tuple[int, int] = (32, 24)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        Image.new("RGB", size, (10 * i % 256, 50, 90)).save(folder / name)
    return folder


def make_clip(path: Path, frames: int = 8, size: tuple[int, int] = (96, 64)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height = size
        for i in range(frames):
            pixels = np.full((size[1], size[0], 3), 20 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


EIGHT = [f"{i:05d}.jpg" for i in range(8)]
LAYOUTS = {
    "plain": (["a", "b2", "b10"], EIGHT, ["a", "b2", "b10"]),
    "oxuva": (
        ["images/dev/vid0000", "images/dev/vid0001", "images/test/vid0337"],
        [f"{i:06d}.jpeg" for i in range(0, 80, 10)],
        ["vid0000", "vid0001", "vid0337"],
    ),
    "lasot": (
        ["airplane/airplane-1/img", "airplane/airplane-10/img", "dog/dog-2/img"],
        [f"{i:08d}.jpg" for i in range(1, 9)],
        ["airplane/airplane-1", "airplane/airplane-10", "dog/dog-2"],
    ),
    "got10k": (
        ["train/GOT-10k_Train_000001", "train/GOT-10k_Train_000002"],
        [f"{i:08d}.jpg" for i in range(1, 9)],
        ["GOT-10k_Train_000001", "GOT-10k_Train_000002"],
    ),
    "youtube-vos": (
        ["train/JPEGImages/0043f083b5", "train/JPEGImages/003234408d"],
        [f"{i:05d}.jpg" for i in range(0, 40, 5)],
        ["0043f083b5", "003234408d"],
    ),
    "youtube-objects": (
        ["cat/data/0001/shots/001/images", "dog/data/0001/shots/001/images"],
        EIGHT,
        ["cat/data/0001/shots/001", "dog/data/0001/shots/001"],
    ),
    "fbms": (["Trainingset/bear01", "Testset/cats01"], [f"bear01_{i:04d}.jpg" for i in range(8)], ["bear01", "cats01"]),
    "davis": (["JPEGImages/480p/bear", "JPEGImages/480p/dog"], EIGHT, ["bear", "dog"]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path: Path, layout: str) -> None:
    folders, frames, names = LAYOUTS[layout]
    root = tmp_path / "data"
    for folder in folders:
        make_frames(root / folder, frames)
    (root / "readme.txt").write_text("not a frame")
    if layout == "davis":
        make_frames(root / "Annotations/480p/bear", [f"{i:05d}.png" for i in range(8)])
        make_frames(root / "JPEGImages/Full-Resolution/bear", frames)
    if layout == "youtube-objects":
        make_frames(root / "cat/data/0001/shots/001/labels", EIGHT[:2])
    if layout == "fbms":
        make_frames(root / "Trainingset/bear01/GroundTruth", ["bear01_0001_gt.png"])
    if layout == "youtube-vos":
        make_frames(root / "train/Annotations/003234408d", [f"{i:05d}.png" for i in range(8)])
    if layout == "lasot":
        (root / "airplane/airplane-1/groundtruth.txt").write_text("1,2,3,4")
    index = VideoIndex.build(root, tmp_path / "cache")
    assert [v.name for v in index] == names
    assert all(list(v.frames) == frames for v in index)
    assert index.frames == 8 * len(names) and not index.bad and not index.short
    assert index[0].file(3).is_file() and index[0].frame_name(3) == Path(frames[3]).stem


def test_one_folder_and_its_name(tmp_path: Path) -> None:
    folder = make_frames(tmp_path / "zebra" / "img", EIGHT)
    assert [v.name for v in VideoIndex.build(folder, tmp_path / "cache")] == ["zebra"]


def test_same_names_are_told_apart(tmp_path: Path) -> None:
    for split in ("train", "val"):
        make_frames(tmp_path / "d" / split / "dog", EIGHT)
    make_frames(tmp_path / "d" / "train" / "cat", EIGHT)
    assert [v.name for v in VideoIndex.build(tmp_path / "d", tmp_path / "c")] == ["cat", "train/dog", "val/dog"]


def test_several_roots_are_one_index(tmp_path: Path) -> None:
    for root, videos in (("a", ["cat", "dog"]), ("b", ["dog", "eel"]), ("c/b", ["eel"])):
        for video in videos:
            make_frames(tmp_path / root / video, EIGHT)
    make_clip(tmp_path / "clip.mp4")
    roots = [tmp_path / "a", tmp_path / "b", tmp_path / "clip.mp4", tmp_path / "a"]
    assert [v.name for v in VideoIndex.build(roots, tmp_path / "cache")] == ["a/dog", "b/dog", "cat", "clip", "eel"]
    twins = VideoIndex.build([tmp_path / "b", tmp_path / "c" / "b"], tmp_path / "cache")
    assert [v.name for v in twins] == ["c/b/eel", "dog", f"{tmp_path.name}/b/eel"]
    with pytest.raises(InputError, match="gone: no such file or folder"):
        VideoIndex.build([tmp_path / "a", tmp_path / "gone"], tmp_path / "cache")


def test_a_video_with_all_frames_replaces_the_sparser_one(tmp_path: Path) -> None:
    """YouTube-VOS comes with every fifth frame in `train` and all of them in `train_all_frames`."""
    root = tmp_path / "data"
    for video in ("0043f083b5", "003234408d"):
        make_frames(root / "train/JPEGImages" / video, [f"{i:05d}.jpg" for i in range(0, 40, 5)])
    make_frames(root / "train_all_frames/JPEGImages/0043f083b5", [f"{i:05d}.jpg" for i in range(40)])
    index = VideoIndex.build(root, tmp_path / "cache")
    assert {v.name: len(v) for v in index} == {"0043f083b5": 40, "003234408d": 8}
    named = VideoIndex.build([root / "train", root / "train_all_frames"], tmp_path / "cache")
    assert {v.name: len(v) for v in named} == {"0043f083b5": 40, "003234408d": 8}
    alone = VideoIndex.build(root / "train", tmp_path / "cache")
    assert {v.name: len(v) for v in alone} == {"0043f083b5": 8, "003234408d": 8}


def test_bad_frames_are_skipped_and_named(tmp_path: Path) -> None:
    folder = make_frames(tmp_path / "d" / "dog", [*EIGHT, "00008.png", "00009.jpg", "00010.jpg", "00011.jpg"])
    for name, keep in (("00001.jpg", -2), ("00008.png", -1), ("00010.jpg", 0)):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[:keep])
    (folder / "00004.jpg").write_bytes(b"no image")
    make_frames(folder, ["00009.jpg"], size=(64, 24))
    index = VideoIndex.build(tmp_path / "d", tmp_path / "c")
    assert list(index[0].frames) == [n for n in (*EIGHT, "00011.jpg") if n not in ("00001.jpg", "00004.jpg")]
    assert [Path(line.split(":")[0]).name for line in index.bad] == [
        "00001.jpg", "00004.jpg", "00008.png", "00009.jpg", "00010.jpg"
    ]  # fmt: skip
    assert "5 unusable files left out" in str(index)
    assert len(index[0].open()) == len(list(index[0].open())) == 7


def test_short_videos_are_counted(tmp_path: Path) -> None:
    make_frames(tmp_path / "d" / "long", EIGHT)
    make_frames(tmp_path / "d" / "brief", EIGHT[:5])
    index = VideoIndex.build(tmp_path / "d", tmp_path / "c")
    assert [v.name for v in index] == ["long"] and index.short == ["brief"]
    assert str(index) == "1 videos, 8 frames; 1 videos too short left out (brief)"


def test_index_is_built_once_until_something_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, cache = tmp_path / "d", tmp_path / "d" / "cache"
    make_frames(root / "dog", EIGHT)
    make_clip(root / "clip.mp4")
    first = VideoIndex.build(root, cache)
    assert [v.name for v in first] == ["clip", "dog"]
    with monkeypatch.context() as patch:
        patch.setattr(pretrain.videos, "_scan", lambda *_: pytest.fail("built twice"))
        again = VideoIndex.build(root, cache)
    assert again == first
    (root / "dog" / EIGHT[0]).unlink()
    assert len(VideoIndex.build(root, cache)[1]) == 7
    make_frames(root / "cat", EIGHT)
    assert [v.name for v in VideoIndex.build(root, cache)] == ["cat", "clip", "dog"]


def test_video_files_are_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_clip(tmp_path / "d" / "sub" / "clip.mp4")
    index = VideoIndex.build(tmp_path / "d", tmp_path / "c", shorter=32)
    assert (index[0].name, list(index[0].frames)) == ("sub/clip", EIGHT)
    frames = list(index[0].open())
    assert frames[0].shape == (32, 48, 3)
    assert [round(float(f.mean()) / 20) for f in frames] == list(range(8))
    monkeypatch.setattr(pretrain.unpack, "_write_frames", lambda *_: pytest.fail("unpacked twice"))
    next((tmp_path / "c").glob("index-*.json")).unlink()
    assert VideoIndex.build(tmp_path / "d", tmp_path / "c", shorter=32) == index


def test_interrupted_unpacking_starts_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        make_clip(tmp_path / "d" / f"{name}.mp4")
    whole = pretrain.unpack._write_frames

    def stop_in_b(video: VideoFile, folder: Path, size: tuple[int, int]) -> None:
        whole(video, folder, size)
        if video.name == "b":
            (folder / EIGHT[-1]).unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pretrain.unpack, "_write_frames", stop_in_b)
        with pytest.raises(KeyboardInterrupt):
            VideoIndex.build(tmp_path / "d", tmp_path / "c")
    assert [p.name[0] for p in (tmp_path / "c" / "frames").iterdir()] == ["a"]
    assert [len(v) for v in VideoIndex.build(tmp_path / "d", tmp_path / "c")] == [8, 8]


def test_unreadable_video_files_are_named(tmp_path: Path) -> None:
    make_clip(tmp_path / "d" / "good.mp4")
    (tmp_path / "d" / "bad.mp4").write_bytes(b"nothing")
    index = VideoIndex.build(tmp_path / "d", tmp_path / "c")
    assert [v.name for v in index] == ["good"] and "bad.mp4" in index.bad[0]


def test_nothing_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        VideoIndex.build(tmp_path / "gone", tmp_path / "c")
    make_frames(tmp_path / "d" / "brief", EIGHT[:2])
    with pytest.raises(InputError, match=r"holds no video to train on .*1 videos too short"):
        VideoIndex.build(tmp_path / "d", tmp_path / "c")


def test_turned_frames_and_motion_photos_are_whole(tmp_path: Path) -> None:
    folder = make_frames(tmp_path / "d" / "phone", EIGHT)
    exif = Image.Exif()
    exif[0x112] = 6
    for name in EIGHT[:4]:
        Image.new("RGB", (24, 32)).save(folder / name, exif=exif)
    with (folder / EIGHT[5]).open("ab") as file:
        file.write(b"\0\0\0\x18ftypmp42" + bytes(9000))
    index = VideoIndex.build(tmp_path / "d", tmp_path / "c")
    assert not index.bad and len(index[0]) == 8 and index[0].size == (24, 32)
    assert {frame.shape for frame in index[0].open()} == {(24, 32, 3)}


def test_pictures_that_are_not_read_are_named(tmp_path: Path) -> None:
    folder = make_frames(tmp_path / "d" / "dog", EIGHT)
    (folder / "00008.HEIC").touch()
    (tmp_path / "d" / "raw").mkdir()
    (tmp_path / "d" / "raw" / "1.dng").touch()
    (tmp_path / "d" / ".thumbnails").mkdir()
    make_frames(tmp_path / "d" / ".thumbnails", EIGHT)
    index = VideoIndex.build(tmp_path / "d", tmp_path / "c")
    assert [v.name for v in index] == ["dog"] and index.short == ["raw"]
    assert [line.split(":")[0] for line in index.bad] == [str(folder / "00008.HEIC"), str(tmp_path / "d/raw/1.dng")]


def test_suffixes_of_every_kind_are_trained_on(tmp_path: Path) -> None:
    make_frames(tmp_path / "d" / "web", [f"{i}.webp" for i in range(8)])
    make_frames(tmp_path / "d" / "scan", [f"{i}.TIF" for i in range(8)])
    make_clip(tmp_path / "d" / "clip.M4V")
    assert [v.name for v in VideoIndex.build(tmp_path / "d", tmp_path / "c")] == ["clip", "scan", "web"]


def test_a_link_is_called_as_the_user_calls_it(tmp_path: Path) -> None:
    make_frames(tmp_path / "store" / "0017", EIGHT)
    (tmp_path / "dog").symlink_to(tmp_path / "store" / "0017")
    assert [v.name for v in VideoIndex.build(tmp_path / "dog", tmp_path / "c")] == ["dog"]


def test_of_a_video_that_was_cut_off_what_decodes_is_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_clip(tmp_path / "d" / "clip.mkv", 12)
    path.write_bytes(path.read_bytes()[: int(0.9 * path.stat().st_size)])
    (video,) = VideoIndex.build(tmp_path / "d", tmp_path / "c", min_frames=4)
    assert 4 <= len(video) < 12
    assert f"{len(video)} of 12 frames can be decoded" in capsys.readouterr().err
