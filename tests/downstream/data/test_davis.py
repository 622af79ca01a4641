"""Finding the annotations of a dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from downstream.data.kinds import open_dataset
from mug.errors import InputError

Squares = Callable[..., Path]


def test_sequences_and_frames_of_the_davis_layout(moving_squares: Squares) -> None:
    dataset = open_dataset(moving_squares(videos=2, frames=3))
    assert dataset.sequences() == ["square0", "square1"]
    assert list(dataset.frames("square1")) == ["00000", "00001", "00002"]
    assert dataset.steady() is None


def test_the_level_480p_may_be_missing(moving_squares: Squares) -> None:
    root = moving_squares(videos=2, frames=3)
    (root / "Annotations" / "480p").rename(root / "moved")
    (root / "Annotations").rmdir()
    (root / "moved").rename(root / "Annotations")
    assert open_dataset(root).sequences() == ["square0", "square1"]


def test_frames_are_in_the_order_of_their_numbers(moving_squares: Squares) -> None:
    root = moving_squares(videos=1, frames=3)
    folder = root / "Annotations" / "480p" / "square0"
    for old, new in (("00000", "frame2"), ("00001", "frame10"), ("00002", "frame9")):
        (folder / f"{old}.png").rename(folder / f"{new}.png")
    assert list(open_dataset(root).frames("square0")) == ["frame2", "frame9", "frame10"]


@pytest.mark.parametrize(
    "line", ["square1", "/JPEGImages/480p/square1/00000.jpg /Annotations/480p/square1/00000.png\n" * 2]
)
def test_a_split_names_sequences_as_davis16_or_davis17_do(moving_squares: Squares, line: str) -> None:
    root = moving_squares(videos=2, frames=3)
    (root / "ImageSets" / "2017").mkdir(parents=True)
    (root / "ImageSets" / "2017" / "val.txt").write_text(f"{line}\n\n")
    assert open_dataset(root).sequences("val") == ["square1"]
    assert open_dataset(root).sequences("2017/val") == ["square1"]


def test_a_split_that_cannot_be_used_is_refused(moving_squares: Squares) -> None:
    root = moving_squares(videos=1, frames=3)
    with pytest.raises(InputError, match=r"ImageSets: has no val\.txt$"):
        open_dataset(root).sequences("val")
    for year in ("2016", "2017"):
        (root / "ImageSets" / year).mkdir(parents=True)
        (root / "ImageSets" / year / "val.txt").write_text("elsewhere\n")
    with pytest.raises(InputError, match=r"any of 2016/val, 2017/val"):
        open_dataset(root).sequences("val")
    with pytest.raises(InputError, match=r"no annotations of elsewhere, which .*2016/val\.txt names"):
        open_dataset(root).sequences("2016/val")
    with pytest.raises(InputError, match=r"has no train\.txt; there are val"):
        open_dataset(root).sequences("train")
    (root / "ImageSets" / "2016" / "val.txt").write_text("\n")
    with pytest.raises(InputError, match="names no sequence"):
        open_dataset(root).sequences("2016/val")


@pytest.mark.parametrize(
    "place", ["db_info.yml", "Annotations/480p/db_info.yml", "Annotations/db_info.yml", "db_info.yaml"]
)
def test_marks_for_t_are_read_from_the_dataset(moving_squares: Squares, place: str) -> None:
    root = moving_squares(videos=1, frames=3)
    (root / place).write_text(
        "attributes: [AC]\nsequences:\n- {name: a, eval_t: True}\n- {name: b, eval_t: false}\n- {name: c}\n"
    )
    assert open_dataset(root).steady() == {"a"}


@pytest.mark.parametrize(
    "text", ["", "sequences: 3", "sequences: [a, b]", "sequences: [{eval_t: true}]", "a: [", "[1]"]
)
def test_marks_that_make_no_sense_are_refused(moving_squares: Squares, text: str) -> None:
    root = moving_squares(videos=1, frames=3)
    (root / "db_info.yml").write_text(text)
    with pytest.raises(InputError, match=r"db_info\.yml: is no list"):
        open_dataset(root).steady()


def test_missing_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such folder"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(
        InputError, match=r"is no dataset that is known; say which with --dataset \(davis16, davis17, .*vos"
    ):
        open_dataset(tmp_path)
    with pytest.raises(InputError, match=r"has no folder Annotations/480p; give the root of a dataset in DAVIS"):
        open_dataset(tmp_path, "davis17")
    (tmp_path / "Annotations" / "480p" / "empty").mkdir(parents=True)
    with pytest.raises(InputError, match=r"480p: holds no <sequence>/<frame>\.png"):
        open_dataset(tmp_path).sequences()
