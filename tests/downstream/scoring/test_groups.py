"""`mug evaluate --task cosegmentation` as a user types it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from downstream.scoring.groups import score_groups
from mug.cli import main
from mug.errors import InputError
from mug.media.masks import write_mask

SIZE = (20, 30)


def block(rows: int, columns: int) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[:rows, :columns] = 1
    return mask


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """Cars 0 and 1 with an object, 2 without, 3 without a mask; one horse."""
    root = tmp_path / "truth"
    masks = {"car": [block(10, 10), block(10, 20), block(0, 0), None], "horse": [block(20, 10)]}
    for name, entries in masks.items():
        (root / name / "GroundTruth").mkdir(parents=True)
        for number, mask in enumerate(entries):
            Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(root / name / f"{number}.jpg")
            if mask is not None:
                Image.fromarray(mask * 255).save(root / name / "GroundTruth" / f"{number}.png")
    return root


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """J of 0.5, 1 and, where there is nothing to find, something found; 0.25 for the horse."""
    root = tmp_path / "results"
    masks = {"car": [block(10, 20), block(10, 20), block(2, 2)], "horse": [block(5, 10)]}
    for name, entries in masks.items():
        (root / name).mkdir(parents=True)
        for number, mask in enumerate(entries):
            write_mask(root / name / f"{number}.png", mask)
    return root


def evaluate(truth: Path, results: Path, *arguments: str) -> int:
    return main(["evaluate", "--task", "cosegmentation", "--gt", str(truth), "--pred", str(results), *arguments])


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error."""
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def test_means_over_classes_and_over_images(truth: Path, results: Path) -> None:
    scores = score_groups(truth, results)
    assert scores["groups"]["car"] == {
        "J": {"mean": 0.75, "images": {"0": 0.5, "1": 1.0}},
        "counts": {"images": 2, "without": 1, "found": 1},
    }
    assert scores["J"] == {"mean": 0.5, "image_mean": pytest.approx(1.75 / 3)}
    assert scores["counts"] == {"groups": 2, "images": 3, "without": 1, "found": 1}


def test_void_does_not_count(truth: Path, results: Path) -> None:
    mask = block(10, 10)
    mask[:10, 10:20] = 255  # what the result has too much of
    Image.fromarray(mask).save(truth / "car" / "GroundTruth" / "0.png")
    assert score_groups(truth, results)["groups"]["car"]["J"]["images"]["0"] == 1.0


def test_table_and_file(truth: Path, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "scores.json"
    assert evaluate(truth, results, "--out", str(out)) == 0
    printed = capsys.readouterr().out
    rows = [line.split() for line in printed.splitlines()]
    assert ["car", "75.0", "2"] in rows
    assert ["horse", "25.0", "1"] in rows
    assert ["mean", "of", "2", "classes", "50.0"] in rows
    assert ["mean", "of", "all", "images", "58.3", "3"] in rows
    assert "1 images show no object; something was found in 1 of them" in printed
    scores = json.loads(out.read_text())
    assert scores["task"] == "cosegmentation"
    assert scores["groups"]["horse"]["J"]["images"] == {"0": 0.25}
    assert evaluate(truth, results, "--out", str(out)) == 2
    assert "--overwrite" in complaint(capsys)


def test_a_class_in_which_nothing_shows_has_no_mean(truth: Path, results: Path, tmp_path: Path) -> None:
    for number in range(2):
        Image.fromarray(block(0, 0)).save(truth / "car" / "GroundTruth" / f"{number}.png")
    out = tmp_path / "scores.json"
    assert evaluate(truth, results, "--out", str(out)) == 0
    scores = json.loads(out.read_text())
    assert scores["groups"]["car"]["J"]["mean"] is None
    assert scores["J"]["mean"] == 0.25


def test_classes_without_masks_are_not_asked_for(truth: Path, results: Path) -> None:
    (truth / "plane").mkdir()
    shutil.copy(truth / "car" / "0.jpg", truth / "plane" / "0.jpg")
    expected = score_groups(truth, results)
    (results / "plane").mkdir()
    write_mask(results / "plane" / "0.png", block(3, 3))
    assert score_groups(truth, results) == expected


def test_pascal_voc(tmp_path: Path) -> None:
    root, out = tmp_path / "VOC2012", tmp_path / "out"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for name in "ab":
        Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(root / "JPEGImages" / f"{name}.jpg")
        mask = 15 * block(20, 10) + 8 * block(20, 20) * (1 - block(20, 10))
        Image.fromarray(mask).save(root / "SegmentationClass" / f"{name}.png")
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("a\nb\n")
    for name, result in (("person", block(20, 10)), ("cat", block(20, 20))):
        (out / name).mkdir(parents=True)
        write_mask(out / name / "b.png", result)
    scores = score_groups(root, out, "test")
    assert {name: entry["J"]["mean"] for name, entry in scores["groups"].items()} == {"cat": 0.5, "person": 1.0}
    assert scores["counts"]["images"] == 2
    with pytest.raises(InputError, match=r"a\.png: is missing"):
        score_groups(root, out, "val")


def rewrite(path: Path, mask: np.ndarray) -> None:
    Image.fromarray(mask).save(path)


BAD: dict[str, tuple[Callable[[Path, Path], Any], list[str], str]] = {
    "no results": (lambda truth, results: shutil.rmtree(results), [], "results: no such folder"),
    "a class is missing": (lambda truth, results: shutil.rmtree(results / "horse"), [], "horse/0.png: is missing"),
    "images are missing": (
        lambda truth, results: [(results / "car" / f"{number}.png").unlink() for number in (1, 2)],
        [],
        "car/1.png: is missing with 1 more of 3",
    ),
    "another class": (
        lambda truth, results: (results / "car").rename(results / "cars"),
        [],
        "cars: .*truth has no such class",
    ),
    "another size": (
        lambda truth, results: rewrite(results / "car" / "1.png", np.zeros((30, 20), np.uint8)),
        [],
        "car/1.png: is 20x30 where its annotation is 30x20",
    ),
    "several objects": (
        lambda truth, results: rewrite(results / "car" / "1.png", 7 * block(3, 3)),
        [],
        "car/1.png: holds 7",
    ),
    "a soft map": (
        lambda truth, results: rewrite(results / "car" / "1.png", np.arange(600, dtype=np.uint16).reshape(SIZE) % 251),
        [],
        "car/1.png",
    ),
    "soft maps announced": (lambda truth, results: None, ["--threshold", "0.5"], "--threshold"),
    "no masks": (
        lambda truth, results: [shutil.rmtree(folder) for folder in truth.glob("*/GroundTruth")],
        [],
        "truth: has no masks",
    ),
    "a split of plain folders": (lambda truth, results: None, ["--split", "val"], "--split val"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(truth: Path, results: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    import re

    spoil, arguments, says = BAD[case]
    spoil(truth, results)
    assert evaluate(truth, results, *arguments) == 2
    assert re.search(says, complaint(capsys))
