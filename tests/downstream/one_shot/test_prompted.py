"""`mug propagate` from boxes, points, masks of several frames, and on streams, as a user types it."""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from mug.cli import main
from mug.media.masks import read_mask, write_mask
from tests.mug.media.streams import served

SQUARE = "8,16,20,20"
"""The box of the square in the first frame of a stream."""


@pytest.fixture
def clip(moving_squares: Callable[..., Path], tmp_path: Path) -> Path:
    """A folder of five frames with two objects, away from its annotations, which are in `truth`."""
    root = moving_squares(videos=1, frames=5, objects=2, seed=3)
    shutil.move(root / "JPEGImages/480p/square0", tmp_path / "clip")
    shutil.move(root / "Annotations/480p/square0", tmp_path / "truth")
    return tmp_path / "clip"


def box_of(path: Path, identity: int) -> str:
    rows, columns = np.nonzero(np.asarray(Image.open(path)) == identity)
    return f"{columns.min()},{rows.min()},{np.ptp(columns) + 1},{np.ptp(rows) + 1}"


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def propagate(weights: Path, video: object, *words: object) -> int:
    how = ("--weights", weights, "--size", "48", "--device", "cpu", "--evidence", "none")
    return main(["propagate", *map(str, (video, *words, *how))])


def test_a_box_instead_of_a_mask(
    clip: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = clip.parent / "truth/00000.png"
    out = tmp_path / "out"
    words = ("--box", box_of(first, 1), "--box", f"4:{box_of(first, 2)}", "--out", out)
    assert propagate(weights, clip, *words, "--overlay") == 0
    truth, mask = np.asarray(Image.open(first)), read_mask(out / "clip/00000.png")
    assert overlap(mask == 1, truth == 1) > 0.85 and overlap(mask == 4, truth == 2) > 0.85
    assert set(np.unique(read_mask(out / "clip/00001.png"))) == {0, 1, 4}
    assert [line for line in capsys.readouterr().err.splitlines() if f"{out}/clip_00000.jpg" in line]
    shown = np.asarray(Image.open(out / "clip_00000.jpg")).astype(int)
    frame = np.asarray(Image.open(clip / "00000.jpg"))
    assert shown.shape == frame.shape and abs(shown - frame)[mask > 0].mean() > 20
    assert (out / "clip.mp4").is_file()
    # the same options are the same masks; others are not
    assert propagate(weights, clip, *words, "--overlay", "--resume") == 0
    assert propagate(weights, clip, "--box", box_of(first, 2), "--out", out, "--resume") == 2
    assert "was made with box = " in capsys.readouterr().err


def test_the_picture_comes_before_the_work(
    clip: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        assert (tmp_path / "out/clip_00000.jpg").is_file()
        raise RuntimeError("the work has begun")

    monkeypatch.setattr("downstream.one_shot.propagator.Propagator.step", fail)
    words = ("--box", box_of(clip.parent / "truth/00000.png", 1), "--overlay", "--out", tmp_path / "out")
    with pytest.raises(RuntimeError, match="the work has begun"):
        propagate(weights, clip, *words)


def test_a_later_box_adds_and_a_later_mask_corrects(clip: Path, weights: Path, tmp_path: Path) -> None:
    truth = {index: read_mask(clip.parent / f"truth/{index:05d}.png") for index in range(5)}
    given = tmp_path / "given"
    for index, identity in ((0, 1), (3, 1)):
        write_mask(given / f"{index:05d}.png", (truth[index] == identity).astype(np.uint8))
    box = f"2@7:{box_of(clip.parent / 'truth/00002.png', 2)}"
    assert propagate(weights, clip, "--mask", given, "--box", box, "--out", tmp_path / "out") == 0
    found = [read_mask(tmp_path / f"out/clip/{index:05d}.png") for index in range(5)]
    assert [7 in mask for mask in found] == [False, False, True, True, True]
    assert overlap(found[2] == 7, truth[2] == 2) > 0.85
    assert np.array_equal(found[0] == 1, truth[0] == 1) and np.array_equal(found[3] == 1, truth[3] == 1)


def test_a_point_on_a_later_frame_is_the_first_given(clip: Path, weights: Path, tmp_path: Path) -> None:
    rows, columns = np.nonzero(np.asarray(Image.open(clip.parent / "truth/00001.png")) == 2)
    point = f"1@{int(np.median(columns))},{int(np.median(rows))}"
    assert propagate(weights, clip, "--point", point, "--out", tmp_path / "out") == 0
    found = [read_mask(tmp_path / f"out/clip/{index:05d}.png").max() for index in range(5)]
    assert found[:2] == [0, 1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("clip", "--box", "1,2,3"), "--box 1,2,3: must be x,y,width,height in pixels"),
        (("clip", "--box", "70,2,3,4"), "box 70,2,3,4: lies outside the frame of 64x48 pixels"),
        (("clip", "--point", "9@1,2"), "--point 9@1,2: clip has no frame 9; its frames are 00000 to 00004"),
        (("clip", "--mask", "strange"), "strange/9.png: clip has no such frame; name masks as its frames"),
        (("clip", "--mask", "clip"), "clip: holds no <frame>.png"),
        (("clip",), "mark its objects with --box, --point or --mask"),
        (("two", "--box", "1,2,3,4"), "two: holds 2 videos; --box goes with a single one"),
        (("http://127.0.0.1:1/x",), "give the objects of its first frame with --box, --point or --mask"),
        (("http://127.0.0.1:1/x", "--box", "1,2,3,4"), "http://127.0.0.1:1/x: cannot be opened"),
        (("http://127.0.0.1:1/x", "--box", "1,2,3,4", "--split", "val"), "--split val: "),
    ],
)
def test_what_is_refused(
    clip: Path,
    weights: Path,
    words: tuple[str, ...],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(clip.parent)
    write_mask(Path("strange/9.png"), np.ones((48, 64), np.uint8))
    for name in "ab":
        shutil.copytree("clip", f"two/{name}")
    assert propagate(weights, *words, "--out", "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert not Path("out").exists()


# --- streams ---------------------------------------------------------------------------------------------------------


def test_a_recording_over_http(weights: Path, tmp_path: Path) -> None:
    with served(recording=6) as url:
        assert propagate(weights, url, "--box", SQUARE, "--out", tmp_path / "out", "--overlay") == 0
    assert sorted(path.name for path in (tmp_path / "out/door").iterdir()) == [f"{t:05d}.png" for t in range(6)]
    square = np.zeros((48, 64), bool)
    square[16:36, 8:28] = True
    assert overlap(read_mask(tmp_path / "out/door/00000.png") == 1, square) > 0.9
    with av.open(str(tmp_path / "out/door.mp4")) as movie:
        assert sum(1 for _ in movie.decode(video=0)) == 6


def test_ctrl_c_saves_what_there_is(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "out/door"

    def interrupt() -> None:
        while not (folder.is_dir() and len(list(folder.glob("*.png"))) > 2):
            time.sleep(0.02)
        signal.raise_signal(signal.SIGINT)

    with served(live=20, pause=0.05) as url:
        url = url.replace("//", "//me:secret@")
        threading.Thread(target=interrupt, daemon=True).start()
        assert propagate(weights, url, "--box", SQUARE, "--out", tmp_path / "out", "--overlay", "--verbose") == 0
    names = sorted(path.stem for path in folder.glob("*.png"))
    assert len(names) > 2 and names[0] == "00000"
    record = json.loads((tmp_path / "out/.door.json").read_text())
    assert record["frames"] == len(names)
    said = capsys.readouterr().err
    assert "SIGINT: ends after this frame" in said
    assert "secret" not in said and "secret" not in json.dumps(record)
    with av.open(str(tmp_path / "out/door.mp4")) as movie:
        stamps = [round(frame.time * 25) for frame in movie.decode(video=0)]
    assert stamps == [int(name) for name in names], "frames are shown when they came"


def test_what_needs_whole_videos_does_not_take_a_stream(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served(live=20) as url:
        assert main(["segment", url, "--out", str(tmp_path / "out"), "--device", "cpu"]) == 2
    assert "is a stream, and system mug reads whole videos" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
