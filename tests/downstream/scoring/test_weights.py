"""`mug evaluate --task retrieval` and `--task probe` as a user types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mug.cli import main


def evaluate(*words: object) -> int:
    return main(["evaluate", *map(str, words)])


@pytest.mark.parametrize(
    ("task", "keys"),
    [
        ("retrieval", {"recall", "precision", "chance", "clips"}),
        ("probe", {"average_precision", "chance", "jaccard", "tested"}),
    ],
)
def test_weights_are_measured_and_written_down(
    task: str, keys: set[str], moving_squares: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = moving_squares(videos=3, frames=6)
    assert evaluate("--task", task, "--gt", root, "--out", [str(tmp_path / "s.json"), str(tmp_path / "s.md")]) == 0
    scores = json.loads((tmp_path / "s.json").read_text())
    assert keys < scores.keys()
    assert all(0 <= scores[key] <= 1 for key in keys - {"clips", "tested"})
    assert scores["task"] == task
    assert "chance" in capsys.readouterr().out
    assert (tmp_path / "s.md").read_text().startswith("| ")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--task", "retrieval", "--pred", "results"), "--task retrieval measures weights, not results"),
        (("--task", "zero-shot"), "--task zero-shot scores results; give their folder"),
        (("--task", "zero-shot", "--pred", "results", "--weights", "w"), "scores results, not weights"),
    ],
)
def test_results_and_weights_are_not_mixed_up(
    words: tuple[str, ...], expected: str, moving_squares: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(*words, "--gt", moving_squares(videos=2, frames=4)) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and expected in lines[0]
