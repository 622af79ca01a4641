"""Where results go, and what may be written over."""

from __future__ import annotations

from collections.abc import Iterator
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
    with pytest.raises(InputError, match="is there already"):
        Results(tmp_path / "out", ["b", "a"])


@pytest.mark.parametrize("name", ["raw", "soft"])
def test_names_of_what_is_kept_beside_are_taken(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="would mix"):
        Results(tmp_path / "out", [name], beside=[])
    Results(tmp_path / "out", [name])


def masks_of(level: int) -> list[np.ndarray]:
    return [np.full((24, 32), level, np.uint8)] * 3


def tree(folder: Path) -> dict[str, bytes]:
    """Everything in a folder, hidden files too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_finished_is_kept_and_what_was_begun_is_done_again(
    frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video, out = open_video(frames), tmp_path / "out"
    names = ["clip", "next"]
    assert Results(out, names, {"lr": (1, 2)}, resume=True).finished == set()
    results = Results(out, names, {"lr": (1, 2)})
    results.write_video(video, iter(masks_of(1)))
    with pytest.raises(ValueError, match="argument 2 is shorter"):  # ends in the middle
        results.write_video(open_video(frames, "next"), iter(masks_of(1)[:1]))
    (out / "next/.00001.abcdefgh.partial").mkdir()
    for name in (".next.abcdefgh.partial", "..next.abcdefgh.partial"):
        (out / name).mkdir()
    with pytest.raises(InputError, match="add --resume to go on or --overwrite"):
        Results(out, names, {"lr": (1, 2)})
    capsys.readouterr()
    again = Results(out, names, {"lr": (1, 2)}, resume=True)
    assert again.finished == {"clip"}
    assert capsys.readouterr().err == f"{out}: 1 of 2 are finished and kept\n"
    again.write_video(open_video(frames, "next"), iter(masks_of(1)))
    assert Results(out, names, {"lr": (1, 2)}, resume=True).finished == {"clip", "next"}
    found = tree(out)
    assert not [path for path in out.rglob(".*") if path.is_dir()]
    assert {path.replace("next", "clip") for path in found} == {path for path in found if "next" not in path}


@pytest.mark.parametrize("lost", ["out/clip/00001.png", "out/raw/clip/00001.png", "out/clip.mp4"])
def test_results_that_lost_a_file_are_not_finished(frames: Path, tmp_path: Path, lost: str) -> None:
    video, keep = open_video(frames), {"beside": ["raw"], "overlay": True}
    names = ["clip"]
    results = Results(tmp_path / "out", names, {}, **keep)  # type: ignore[arg-type]

    def masks() -> Iterator[np.ndarray]:
        for name, mask in zip(video.frame_names, masks_of(1), strict=True):
            results.write_raw("clip", name, mask)
            yield mask

    results.write_video(video, masks())
    assert Results(tmp_path / "out", names, {}, resume=True, **keep).finished == {"clip"}  # type: ignore[arg-type]
    (tmp_path / lost).unlink()
    assert not Results(tmp_path / "out", names, {}, resume=True, **keep).finished  # type: ignore[arg-type]
    if lost.endswith("png"):
        (tmp_path / lost).touch()
        assert not Results(tmp_path / "out", names, {}, resume=True, **keep).finished  # type: ignore[arg-type]


def test_results_of_other_settings_are_refused_by_name_and_replaced_on_request(frames: Path, tmp_path: Path) -> None:
    video, out = open_video(frames), tmp_path / "out"
    names = ["clip"]
    Results(out, names, {"mode": {"kind": "paper"}}).write_video(video, iter(masks_of(1)))
    before = tree(out)
    with pytest.raises(InputError, match=r"clip: was made with mode\.kind = 'paper' and this command has 'adapted'"):
        Results(out, names, {"mode": {"kind": "adapted"}}, resume=True)
    assert tree(out) == before
    results = Results(out, names, {"mode": {"kind": "adapted"}}, resume=True, overwrite=True)
    assert not results.finished
    results.write_video(video, iter(masks_of(2)))
    assert Results(out, names, {"mode": {"kind": "adapted"}}, resume=True, overwrite=True).finished == {"clip"}


def test_results_of_unknown_making_are_not_taken_up(tmp_path: Path) -> None:
    mask = tmp_path / "out/clip/00000.png"
    mask.parent.mkdir(parents=True)
    mask.write_text("dear to somebody")
    for record in ("", "no JSON", "[]", '{"frames": 1}'):
        if record:
            (tmp_path / "out/.clip.json").write_text(record)
        with pytest.raises(InputError, match="no record of how it was made"):
            Results(tmp_path / "out", ["clip"], {}, resume=True)
    assert mask.read_text() == "dear to somebody"
