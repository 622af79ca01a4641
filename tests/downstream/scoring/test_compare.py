"""Several results side by side: differences, their intervals, and where results differ most."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from downstream.report import ReportOptions, report
from downstream.scoring.compare import compare, interval, names_of
from downstream.scoring.davis import score_results
from mug.cli import main
from mug.errors import InputError
from mug.media.masks import read_mask, write_mask

Squares = Callable[..., Path]


@pytest.fixture
def truth(moving_squares: Squares) -> Path:
    """Three sequences of six frames with two objects each."""
    return moving_squares(videos=3, frames=6, objects=2)


@pytest.fixture
def results(truth: Path, tmp_path: Path) -> list[Path]:
    """Perfect results, and the same with two frames of square1 and one of square2 spoilt."""
    folders = [tmp_path / "good", tmp_path / "bad"]
    for folder in folders:
        shutil.copytree(truth / "Annotations" / "480p", folder)
    for name, frame, keep in (("square1", "00002", 2), ("square1", "00003", 0), ("square2", "00004", 2)):
        path = folders[1] / name / f"{frame}.png"
        mask = read_mask(path)
        write_mask(path, np.where(mask == keep, mask, 0).astype(np.uint8))
    return folders


def test_a_pair_whose_answer_is_obvious(truth: Path, results: list[Path]) -> None:
    scores = score_results(truth, {"good": results[0], "bad": results[1]}, "one-shot", stability=False)
    content = compare(scores)["comparison"]
    assert content["baseline"] == "good"
    bad = content["others"]["bad"]
    # of 4 frames and 2 objects: square1 loses 1 and 2 of them, square2 loses 1
    assert {name: entry["J"] for name, entry in bad["sequences"].items()} == pytest.approx(
        {"square0": 0, "square1": -3 / 8, "square2": -1 / 8}
    )
    assert bad["J"]["difference"] == bad["F"]["difference"] == bad["J&F"]["difference"] == pytest.approx(-1 / 6)
    assert bad["J"]["low"] < -1 / 6 < bad["J"]["high"] <= 0
    assert bad["frames"] == [
        {"sequence": "square1", "frame": "00003", "J": [1.0, 0.0]},
        {"sequence": "square2", "frame": "00004", "J": [1.0, 0.5]},
    ]


def test_a_result_does_not_differ_from_its_copy(truth: Path, results: list[Path]) -> None:
    scores = score_results(truth, {"a": results[1], "b": results[1]}, "zero-shot", stability=False)
    same = compare(scores)["comparison"]["others"]["b"]
    assert same["frames"] == []
    assert same["J"] == {"difference": 0.0, "low": 0.0, "high": 0.0}


def test_bootstrap_is_the_plain_loop() -> None:
    rng = np.random.default_rng(5)
    differences, counts = rng.normal(0.05, 0.2, (7, 2)), rng.integers(1, 4, 7)
    draws = np.random.default_rng(11)
    means = []
    for _ in range(400):
        total, objects = np.zeros(2), 0
        for sequence in draws.integers(0, 7, 7):
            total += differences[sequence]
            objects += counts[sequence]
        means.append(total / objects)
    ordered = np.sort(means, axis=0)

    def quantile(share: float) -> np.ndarray:
        place = share * (len(ordered) - 1)
        below = math.floor(place)
        return ordered[below] + (place - below) * (ordered[below + 1] - ordered[below])

    low, high = interval(differences, counts, resamples=400, seed=11)
    np.testing.assert_allclose(low, quantile(0.025), atol=1e-12)
    np.testing.assert_allclose(high, quantile(0.975), atol=1e-12)


def test_bootstrap_finds_the_spread_of_the_mean() -> None:
    differences = np.random.default_rng(0).normal(0.3, 1.0, (100, 1))
    low, high = interval(differences, np.ones(100))
    assert (high - low)[0] == pytest.approx(2 * 1.96 * differences.std() / 10, rel=0.05)
    assert (low + high)[0] / 2 == pytest.approx(differences.mean(), abs=0.02)


def test_bootstrap_repeats_itself_and_says_nothing_of_one_sequence() -> None:
    differences = np.random.default_rng(0).random((5, 3))
    assert [end.tolist() for end in interval(differences, np.ones(5))] == [
        end.tolist() for end in interval(differences, np.ones(5))
    ]
    assert np.isnan(interval(differences[:1], np.ones(1))).all()


def test_results_are_compared_on_the_frames_that_all_have(truth: Path, results: list[Path]) -> None:
    shutil.rmtree(results[0] / "square0")
    (results[1] / "square1" / "00003.png").unlink()
    preds = dict(zip("ab", results, strict=True))
    scores = score_results(truth, preds, "zero-shot", stability=False, only_existing=True)
    for entry in scores.values():
        assert entry["missing"] == {"sequences": ["square0"], "frames": {"square1": ["00003"]}, "too_short": []}
        assert list(entry["sequences"]) == ["square1", "square2"]
        assert entry["sequences"]["square1"]["frame_names"] == ["00001", "00002", "00004"]
    assert compare(scores)["comparison"]["others"]["b"]["frames"][0]["frame"] == "00002"
    (results[0] / "square0").symlink_to(results[1] / "square0")
    with pytest.raises(InputError, match=r"bad/square1/00003.png: is missing"):
        score_results(truth, preds, "zero-shot", stability=False)


def call(*arguments: object) -> int:
    return main(["evaluate", *map(str, arguments), "--workers", "1", "--no-stability"])


def test_the_command_compares_and_the_report_shows_where(
    truth: Path, results: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores" / "pair.json"
    arguments = ("--task", "one-shot", "--gt", truth)
    assert call(*arguments, "--pred", *results, "--out", out, out.with_suffix(".csv")) == 0
    printed = capsys.readouterr().out
    row = next(line.split() for line in printed.splitlines() if "square1" in line)
    assert row == ["square1", "100.0", "62.5", "-37.5", "100.0", "62.5", "-37.5"]
    assert "bad - good: J -16.7 [" in printed
    assert "They differ most in square1 (J -37.5)" in printed
    assert "in the frames square1/00003 (J 100.0 and 0.0)" in printed
    assert out.with_suffix(".csv").read_text().splitlines()[2].startswith("square1,1.000000,0.625000,-0.375000,")
    assert set(json.loads(out.read_text())["results"]) == {"good", "bad"}

    for source in (out, out.parent):
        report(ReportOptions(source, out=tmp_path / "page.html"))
        html = (tmp_path / "page.html").read_text()
        assert "square1, frame 00003</a>: annotation; good J 100.0; bad J 0.0" in html
        # two frames, each with the annotation and both masks, and nothing loaded from elsewhere
        sources = re.findall(r'(?:src|href)="([^"]*)"', html)
        assert sum(source.startswith("data:image/jpeg;base64,") for source in sources) == 6
        assert all(source.startswith(("data:", "#")) for source in sources)
        (tmp_path / "page.html").unlink()


def test_lists_are_also_taken_in_brackets_and_one_result_stays_one(truth: Path, results: list[Path]) -> None:
    arguments = ("--task", "zero-shot", "--gt", truth)
    assert call(*arguments, "--pred", f"[{results[0]},{results[1]}]") == 0
    assert call(*arguments, "--pred", results[0]) == 0
    assert call(*arguments, "--pred", results[0], results[0]) == 2


def test_only_davis_scores_are_compared(truth: Path, results: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(
            [
                "evaluate",
                "--task",
                "zero-shot",
                "--gt",
                str(truth),
                "--pred",
                *map(str, results),
                "--protocol",
                "report",
            ]
        )
        == 2
    )
    assert "--pred: several results: is for --task zero-shot" in capsys.readouterr().err
    assert (
        main(["evaluate", "--task", "cosegmentation", "--gt", str(truth), "--pred", str(results[0]), "--only-existing"])
        == 2
    )
    assert "--only-existing: is for --task zero-shot" in capsys.readouterr().err


def test_results_are_called_after_what_tells_them_apart(tmp_path: Path) -> None:
    assert names_of([Path("runs/a/masks"), Path("runs/b/masks")]) == ["a/masks", "b/masks"]
    assert names_of([Path("runs/a"), Path("runs/b")]) == ["a", "b"]
    with pytest.raises(InputError, match="is given twice"):
        names_of([tmp_path, tmp_path])
