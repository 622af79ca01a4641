"""`mug masks` as a user types it; what it writes is read by other libraries."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image, ImageSequence

from mug.cli import main
from mug.exchange import rle
from mug.exchange.moving import write_gif
from mug.exchange.sequences import find_sequences
from mug.media.masks import read_mask, write_mask

SIZE = (25, 33)
"""Odd, and high unlike wide."""


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two sequences of three frames, in `out` and `clips`; object 3 is absent from the second frame of `a`."""
    rng = np.random.default_rng(0)
    for name in "ab":
        (tmp_path / "out" / name).mkdir(parents=True)
        (tmp_path / "clips" / name).mkdir(parents=True)
        for index in range(3):
            mask = np.zeros(SIZE, np.uint8)
            mask[3 : 9 + index, 5:20] = 1
            if index != 1 and name == "a":
                mask[15:23, 2 + index : 30] = 3
                mask[rng.random(SIZE) < 0.1] = 3
            write_mask(tmp_path / "out" / name / f"{index:05d}.png", mask)
            frame = Image.fromarray(np.full((*SIZE, 3), (200, 40 * index, 20), np.uint8))
            frame.save(tmp_path / "clips" / name / f"{index:05d}.png")
    return tmp_path


def masks(*words: object) -> int:
    return main(["masks", *map(str, words)])


def true_mask(root: Path, sequence: str, index: int) -> np.ndarray:
    return read_mask(root / "out" / sequence / f"{index:05d}.png")


# --- JSON ------------------------------------------------------------------------------------------------------------


def test_coco_is_what_its_own_reader_reads(results: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    file = results / "masks.json"
    assert masks(results / "out", "--to", "coco", "--out", file, "--videos", results / "clips") == 0
    read = coco.COCO(str(file))
    assert [image["file_name"] for image in read.loadImgs(read.getImgIds())] == [
        f"{name}/{index:05d}.png" for name in "ab" for index in range(3)
    ]
    seen = 0
    for image in read.loadImgs(read.getImgIds()):
        sequence, frame = image["file_name"].split("/")
        truth = read_mask(results / "out" / sequence / frame)
        for found in read.loadAnns(read.getAnnIds(image["id"])):
            shape = read.annToMask(found)
            assert np.array_equal(shape, truth == found["track_id"])
            assert found["area"] == shape.sum()
            (rows,), (columns,) = np.nonzero(shape.any(1)), np.nonzero(shape.any(0))
            assert found["bbox"] == [columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1]
            seen += 1
    assert seen == 3 + 2 + 3


def test_youtube_vis_has_a_mask_or_null_for_every_frame(results: Path) -> None:
    library = pytest.importorskip("pycocotools.mask")
    file = results / "masks.json"
    assert masks(results / "out", "--to", "youtube-vis", "--out", file) == 0
    content = json.loads(file.read_text())
    video = content["videos"][0]
    assert video["file_names"] == [f"a/{index:05d}.jpg" for index in range(3)]
    assert (video["height"], video["width"], video["length"]) == (*SIZE, 3)
    assert [(x["video_id"], x["track_id"]) for x in content["annotations"]] == [(1, 1), (1, 3), (2, 1)]
    second = content["annotations"][1]
    assert second["segmentations"][1] is second["areas"][1] is second["bboxes"][1] is None
    shape = library.decode(second["segmentations"][2])
    assert np.array_equal(shape, true_mask(results, "a", 2) == 3)
    assert second["areas"][2] == shape.sum()


@pytest.mark.parametrize("form", ["coco", "youtube-vis"])
def test_there_and_back_is_the_same(results: Path, form: str) -> None:
    pytest.importorskip("pycocotools")
    assert masks(results / "out", "--to", form, "--out", results / "masks.json") == 0
    assert masks(results / "masks.json", "--to", "png", "--out", results / "back") == 0
    files = sorted((results / "back").rglob("*.png"))
    assert len(files) == 6
    for path in files:
        assert Image.open(path).mode == "P"
        assert np.array_equal(read_mask(path), read_mask(results / "out" / path.relative_to(results / "back")))


def test_masks_of_one_sequence(results: Path) -> None:
    pytest.importorskip("pycocotools")
    assert (
        masks(results / "out" / "a", "--to", "coco", "--out", results / "a.json", "--videos", results / "clips/b") == 0
    )
    content = json.loads((results / "a.json").read_text())
    assert content["images"][0]["file_name"] == "a/00000.png"


def test_polygons_and_plain_runs_of_other_tools(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    square, runs = [[2, 1, 6, 1, 6, 5, 2, 5]], {"size": [8, 10], "counts": [72, 8]}
    image = {"id": 7, "file_name": "00004.jpg", "height": 8, "width": 10}
    named = {"attributes": {"occluded": False, "track_id": 6}}
    annotations = [
        {"image_id": 7, "segmentation": square} | named,
        {"image_id": 7, "segmentation": runs, "iscrowd": 1},
    ]
    (tmp_path / "cvat.json").write_text(json.dumps({"images": [image], "annotations": annotations}))
    assert masks(tmp_path / "cvat.json", "--to", "png", "--out", tmp_path / "given") == 0
    expected = np.zeros((8, 10), np.uint8)
    expected[1:5, 2:6], expected[:, 9] = 6, 2
    assert np.array_equal(read_mask(tmp_path / "given/cvat/00004.png"), expected)


def test_our_decoding_is_the_librarys() -> None:
    library = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for share in (0, 0.01, 0.5, 0.99, 1):
        for size in ((1, 1), (1, 40), (37, 1), (60, 90)):
            mask = rng.random(size) < share
            code = rle.encode(mask)
            assert np.array_equal(rle.decode(code, size), mask)
            assert np.array_equal(library.decode(code), mask)


IMAGE: dict[str, Any] = {"id": 1, "file_name": "a/0.jpg", "height": 4, "width": 4}
SHORT = {"size": [4, 4], "counts": "2"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is no JSON"),
        ([], "is no COCO"),
        ({"images": []}, "'annotations' is missing"),
        ({"images": [IMAGE], "annotations": [{"image_id": 1, "segmentation": SHORT}]}, "do not fill"),
        ({"images": [IMAGE], "annotations": [{"image_id": 1, "segmentation": SHORT | {"counts": "1o"}}]}, "cut off"),
        ({"images": [IMAGE], "annotations": [{"image_id": 1, "segmentation": SHORT | {"counts": "\x07"}}]}, "be read"),
        ({"images": [IMAGE], "annotations": [{"image_id": 1, "segmentation": SHORT | {"size": [2, 8]}}]}, "4x4"),
        ({"images": [IMAGE], "annotations": [{"image_id": 1, "segmentation": [[1, 1]]}]}, "three corners"),
        ({"images": [IMAGE], "annotations": [{"image_id": 1, "segmentation": SHORT, "track_id": 255}]}, "1 to 254"),
        ({"images": [IMAGE | {"file_name": "../0.jpg"}], "annotations": []}, "will not do"),
        ({"images": [IMAGE | {"width": 100_000, "height": 100_000}], "annotations": []}, "there may be 178,956,970"),
        ({"images": [IMAGE | {"width": -4}], "annotations": []}, "-4x4 pixels"),
        ({"images": [IMAGE | {"file_name": "a\\..\\..\\0.jpg"}], "annotations": []}, "will not do"),
    ],
)
def test_other_json_is_refused(tmp_path: Path, content: Any, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pycocotools")
    file = tmp_path / "x.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    assert masks(file, "--to", "png", "--out", tmp_path / "back") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"mug: error: {file}: ") and says in line
    assert not (tmp_path / "back").exists()


def test_the_missing_library_is_named(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)  # type: ignore[arg-type]
    assert masks(results / "out", "--to", "coco", "--out", results / "masks.json") == 2
    assert "pip install 'mug-vos[coco]'" in capsys.readouterr().err
    assert not (results / "masks.json").exists()


# --- cut out ---------------------------------------------------------------------------------------------------------


def test_pictures_with_transparency(results: Path) -> None:
    assert masks(results / "out", "--to", "rgba", "--out", results / "cut", "--videos", results / "clips") == 0
    assert len(list((results / "cut").rglob("*.png"))) == 6
    image = np.asarray(Image.open(results / "cut/a/00002.png"))
    shown = true_mask(results, "a", 2) > 0
    assert np.array_equal(image[..., 3] == 255, shown) and set(np.unique(image[..., 3])) == {0, 255}
    assert (image[shown][:, :3] == (200, 80, 20)).all() and not image[~shown].any()


def test_a_video_with_transparency(results: Path) -> None:
    if "libvpx-vp9" not in av.codecs_available:
        pytest.skip("PyAV has no VP9 encoder")
    assert masks(results / "out", "--to", "webm", "--out", results / "cut", "--videos", results / "clips") == 0
    assert sorted(path.name for path in (results / "cut").iterdir()) == ["a.webm", "b.webm"]
    with av.open(str(results / "cut/b.webm")) as container:
        decoder = av.CodecContext.create("libvpx-vp9", "r")  # FFmpeg's own decoder leaves the transparency out
        packets = [packet for packet in container.demux(video=0) if packet.size]
        frames = [frame.to_ndarray(format="rgba") for packet in packets for frame in decoder.decode(packet)]
    assert len(frames) == 3 and frames[0].shape == (*SIZE, 4)
    for index, frame in enumerate(frames):
        shown = true_mask(results, "b", index) > 0
        assert np.mean((frame[..., 3] > 127) == shown) > 0.97
        assert abs(frame[6, 12, :3].astype(int) - (200, 40 * index, 20)).max() < 40


def test_an_animation(results: Path) -> None:
    words = ("--to", "gif", "--out", results / "gif", "--videos", results / "clips")
    assert masks(results / "out", *words) == 0
    with Image.open(results / "gif/a.gif") as animation:
        frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(animation)]
        assert animation.info["loop"] == 0 and abs(animation.info["duration"] - 1000 / 12) <= 10
    assert len(frames) == 2  # of 24 frames a second every other
    assert abs(frames[1][6, 12].astype(int) - (164, 40, 10)).max() < 12  # the frame and the red of object 1
    assert abs(frames[1][0, 32].astype(int) - (200, 80, 20)).max() < 12 or true_mask(results, "a", 2)[0, 32]
    assert masks(results / "out", *words) == 2, "nothing is replaced unasked"
    assert masks(results / "out", *words, "--overwrite") == 0


@pytest.mark.parametrize("fps", [10, 12.5, 15, 24, 23.976, 25, 30, 60])
def test_an_animation_lasts_as_long_as_its_video_and_is_never_too_fast(results: Path, fps: float) -> None:
    (sequence, *_) = find_sequences(results / "out", results / "clips")
    assert sequence.video is not None
    sequence.video.fps = fps
    write_gif(sequence, results / "gif")
    with Image.open(results / f"gif/{sequence.name}.gif") as animation:
        durations = [frame.info["duration"] for frame in ImageSequence.Iterator(animation)]
    step = math.ceil(fps / 12.5)
    assert min(durations) >= 80
    assert abs(sum(durations) - 1000 * step * math.ceil(len(sequence.files) / step) / fps) <= 5


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("out", "--to", "webm", "--out", "x"), "--to webm: shows the frames; give their videos with --videos"),
        (("out", "--to", "rgba", "--out", "x", "--videos", "clips/a"), "has no video named b"),
        (("clips", "--to", "rgba", "--out", "x", "--videos", "clips"), "is not of the DAVIS palette"),
        (("nowhere", "--to", "coco", "--out", "x.json"), "nowhere: no such folder"),
        (("empty", "--to", "coco", "--out", "x.json"), "holds no <sequence>/<frame>.png"),
        (("out", "--to", "coco", "--out", "out"), "is a folder; give a file"),
        (("out", "--to", "png", "--out", "x"), "is a folder; --to png reads a COCO or YouTube-VIS file"),
        (("a.json", "--to", "png", "--out", "x", "--videos", "clips"), "--videos: has no effect here"),
        (("out", "--to", "mp4", "--out", "x"), "--to: 'mp4' will not do"),
        (("small", "--to", "rgba", "--out", "x", "--videos", "clips/b"), "is 3x2 pixels, its video 33x25"),
        (("more", "--to", "gif", "--out", "x", "--videos", "clips/b"), "00009.png: has no frame in"),
    ],
)
def test_what_is_refused(
    results: Path,
    words: tuple[str, ...],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(results)
    (results / "empty").mkdir()
    for name, size in (("small/00000", (2, 3)), ("more/00009", SIZE)):
        (results / name).parent.mkdir()
        write_mask(results / f"{name}.png", np.ones(size, np.uint8))
    assert masks(*words) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and says in said[0]
    assert not [path for path in results.glob("x*") if path.is_file() or list(path.rglob("*.*"))]
