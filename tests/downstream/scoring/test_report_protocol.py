"""`mug evaluate --protocol report`: scores by the AGNN report's protocol, with values worked out by hand."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from downstream.metrics.boundary import f_measure
from downstream.report import ReportOptions, report
from downstream.scoring.report_protocol import score_by_report, tolerance
from mug.cli import main
from mug.errors import InputError
from mug.media.masks import write_mask

SIZE = (20, 40)


def block(first: int, last: int) -> np.ndarray:
    """Columns `first` to `last` - 1 over the full height: outlines are straight lines."""
    mask = np.zeros(SIZE, np.uint8)
    mask[:, first:last] = 1
    return mask


TRUTH = {
    "a": [block(10, 20), 2 * block(10, 20), block(10, 20)],
    "b": [block(0, 0), block(5, 10)],
    "c": [block(0, 10)],
}
RESULTS = {
    "a": [block(10, 20), block(10, 30), block(15, 30)],  # J 1, 1/2, 5/20; with each other 1/2, 3/4
    "b": [block(0, 0), block(0, 0)],  # J 1, 0; both empty: 1
    "c": [block(0, 5)],  # J 1/2; no second frame
}


def write(folder: Path, masks: dict[str, list[np.ndarray]]) -> Path:
    for name, frames in masks.items():
        (folder / name).mkdir(parents=True)
        for number, mask in enumerate(frames):
            write_mask(folder / name / f"{number:05d}.png", mask)
    return folder


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    write(tmp_path / "truth" / "Annotations" / "480p", TRUTH)
    return tmp_path / "truth"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write(tmp_path / "results", RESULTS)


def test_every_frame_counts_then_sequences_are_averaged(truth: Path, results: Path) -> None:
    scores = score_by_report(truth, results, "zero-shot", None, None)
    j = {name: entry["J"] for name, entry in scores["sequences"].items()}
    assert j["a"] == {"mean": pytest.approx(1.75 / 3), "frames": [1.0, 0.5, 0.25]}
    assert j["b"] == {"mean": 0.5, "frames": [1.0, 0.0]}
    assert j["c"] == {"mean": 0.5, "frames": [0.5]}
    assert scores["J"]["mean"] == pytest.approx((1.75 / 3 + 0.5 + 0.5) / 3)  # not the mean of six frames
    assert scores["counts"] == {"sequences": 3, "frames": 6}


def test_outlines_agree_within_the_formula(truth: Path, results: Path) -> None:
    assert tolerance(*SIZE) == 1  # ceil(0.32)
    scores = score_by_report(truth, results, "zero-shot", None, None)
    f = {name: entry["F"]["frames"] for name, entry in scores["sequences"].items()}
    # a: the lines at 10 and 20 against those at 10 and 30, then at 15 and 30; the last pixel of a line that the
    # toolkit's rule never marks takes nothing away, since all lines are alike
    assert f["a"] == [1.0, 0.5, 0.0]
    assert f["b"] == [1.0, 0.0]
    assert f["c"] == [0.0]
    assert scores["F"]["mean"] == pytest.approx((0.5 + 0.5 + 0.0) / 3)


def test_t_is_the_iou_of_successive_results_and_no_t_of_davis(truth: Path, results: Path) -> None:
    scores = score_by_report(truth, results, "zero-shot", None, None)
    t = {name: entry["T_iou"] for name, entry in scores["sequences"].items()}
    assert t["a"] == {"mean": 0.625, "frames": [0.5, 0.75]}
    assert t["b"] == {"mean": 1.0, "frames": [1.0]}
    assert math.isnan(t["c"]["mean"])
    assert scores["T_iou"]["mean"] == pytest.approx((0.625 + 1.0) / 2)
    assert "T" not in scores
    assert all("T" not in entry for entry in scores["sequences"].values())


def test_all_objects_are_one_foreground_and_void_counts_in_neither(truth: Path, results: Path) -> None:
    mask = block(10, 20)
    mask[:, 15:20] = 2
    mask[:, 20:30] = 255
    Image.fromarray(mask).save(truth / "Annotations" / "480p" / "a" / "00001.png")
    write_mask(results / "a" / "00001.png", block(10, 30) + block(12, 30))
    entry = score_by_report(truth, results, "zero-shot", None, None)["sequences"]["a"]
    assert entry["J"]["frames"][1] == 1.0
    assert entry["F"]["frames"][1] == 1.0
    assert entry["T_iou"]["frames"] == [0.5, 0.75]  # no annotation takes part in it


@pytest.mark.parametrize(("shape", "pixels"), [((480, 854), 7), ((854, 480), 7), ((125, 125), 1), ((100, 126), 2)])
def test_tolerance_is_a_share_of_the_longer_side(shape: tuple[int, int], pixels: int) -> None:
    assert tolerance(*shape) == pixels


def test_the_radius_of_f_is_inclusive() -> None:
    shown, found = block(0, 10) > 0, block(0, 13) > 0
    assert f_measure(found, shown, radius=3) == 1.0
    assert f_measure(found, shown, radius=2) == 0.0


def test_soft_maps_and_splits(truth: Path, results: Path) -> None:
    for path in results.rglob("*.png"):
        soft = np.array(Image.open(path)) * np.uint8(60) + np.arange(SIZE[1], dtype=np.uint8)
        Image.fromarray(soft).save(path)
    (truth / "ImageSets").mkdir()
    (truth / "ImageSets" / "val.txt").write_text("a\n")
    scores = score_by_report(truth, results, "zero-shot", 0.2, "val")  # above 51: what was foreground
    assert scores["sequences"].keys() == {"a"}
    assert scores["J"]["mean"] == pytest.approx(1.75 / 3)


def evaluate(truth: Path, results: Path, *arguments: str, task: str = "zero-shot") -> int:
    words = ["--protocol", "report", "--task", task, "--gt", str(truth), "--pred", str(results)]
    return main(["evaluate", *words, *arguments])


def test_table_file_and_page(truth: Path, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "scores.json"
    assert evaluate(truth, results, "--out", str(out)) == 0
    printed = capsys.readouterr().out
    rows = [line.split() for line in printed.splitlines()]
    assert ["sequence", "J", "F", "T_iou"] in rows
    assert ["a", "58.3", "50.0", "62.5"] in rows
    assert ["c", "50.0", "0.0", "-"] in rows
    assert ["mean", "of", "sequences", "52.8", "33.3", "81.2"] in rows
    scores = json.loads(out.read_text())
    assert scores["protocol"] == "report"
    assert scores["sequences"]["c"]["T_iou"] == {"mean": None, "frames": []}
    shutil.rmtree(results)
    report(ReportOptions(out, tmp_path / "page.html"))
    cells = ("52.8", "-", "-", "33.3", "-", "-")
    row = "<td>scores</td><td>zero-shot, report</td>" + "".join(f"<td[^>]*>{cell}</td>" for cell in cells)
    assert re.search(row, (tmp_path / "page.html").read_text())


BAD: dict[str, tuple[Callable[[Path], object], str, list[str], str]] = {
    "several objects": (lambda results: None, "one-shot", [], "--protocol report: scores one foreground"),
    "groups": (lambda results: None, "cosegmentation", [], "--protocol report: scores one foreground"),
    "a threshold": (lambda results: None, "zero-shot", ["--threshold", "1"], "--threshold 1"),
    "no results": (lambda results: shutil.rmtree(results), "zero-shot", [], "results: no such folder"),
    "no sequence": (lambda results: shutil.rmtree(results / "b"), "zero-shot", [], "b: no results for 1 of 3"),
    "no first frame": (
        lambda results: (results / "a" / "00000.png").unlink(),
        "zero-shot",
        [],
        "a/00000.png: is missing; --protocol report counts every annotated frame",
    ),
    "another size": (
        lambda results: write_mask(results / "a" / "00001.png", np.zeros((8, 9), np.uint8)),
        "zero-shot",
        [],
        "00001.png: is 9x8 where its annotation is 40x20",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(truth: Path, results: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    spoil, task, arguments, says = BAD[case]
    spoil(results)
    assert evaluate(truth, results, *arguments, task=task) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_a_sequence_of_two_sizes_is_refused(truth: Path, results: Path) -> None:
    for folder in (truth / "Annotations" / "480p", results):
        write_mask(folder / "a" / "00001.png", np.ones((8, 9), np.uint8))
    with pytest.raises(InputError, match="of another size than the frame before"):
        score_by_report(truth, results, "zero-shot", None, None)
