"""`mug evaluate --out -`: scores for other programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mug.cli import main


def test_json_goes_to_standard_output_in_place_of_the_table(
    truth: Path, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("--task", "zero-shot", "--gt", str(truth), "--pred", str(results), "--no-stability", "--quiet", "--out")
    assert main(["evaluate", *words, "-"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["J"]["mean"] == 1.0 and err == ""
    assert main(["evaluate", *words, "-", str(tmp_path / "scores.json")]) == 0
    assert capsys.readouterr().out == out == (tmp_path / "scores.json").read_text()
    assert not (tmp_path / "-").exists()
