"""What a run says of itself."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest
import torch

from mug.errors import logger
from mug.run.log import MetricsLog, ProgressLine


def test_metrics_are_cut_back_to_the_step_and_half_lines_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    whole = MetricsLog(path, ("step", "loss"), 0)
    for step in range(5):
        whole.write({"step": step, "loss": step / 3})
    whole.close()
    undisturbed = path.read_bytes()
    path.write_bytes(undisturbed[:-4])  # a kill in the middle of the last line
    again = MetricsLog(path, ("step", "loss"), 3)
    assert path.read_text().splitlines()[-1].startswith("2,")
    for step in range(3, 5):
        again.write({"step": step, "loss": step / 3})
    again.close()
    assert path.read_bytes() == undisturbed


def test_metrics_start_anew_when_not_even_the_header_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,lo")
    log = MetricsLog(path, ("step", "loss"), 0)
    log.write({"step": 0, "loss": 1.0})
    log.close()
    assert path.read_text() == "step,loss\n0,1\n"


def test_a_term_that_is_off_leaves_its_place_empty_and_float32_survives_exactly(tmp_path: Path) -> None:
    loss = torch.rand((), generator=torch.Generator().manual_seed(3))
    log = MetricsLog(tmp_path / "metrics.csv", ("step", "off", "loss"), 0)
    log.write({"step": 0, "loss": loss.item()})
    log.close()
    _, off, written = (tmp_path / "metrics.csv").read_text().splitlines()[1].split(",")
    assert off == ""
    assert torch.tensor(float(written)) == loss


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_the_progress_line_comes_every_30_s_and_leaves_out_the_first_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    line = ProgressLine(0, total=20)
    for seconds, step in ((40, 5), (42, 6), (71, 7), (72, 8), (73, 20)):  # resumed after step 4
        clock.seconds = seconds
        line.update(step, "loss 1")
    line.close()
    assert capsys.readouterr().err.splitlines() == [
        "step 5/20  loss 1",
        "step 7/20  loss 1  0.06 steps/s  0:03:22 left",
        "step 20/20  loss 1  0.45 steps/s  0:00:00 left",
    ]


def test_the_progress_line_is_off_where_information_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    logger.setLevel(logging.ERROR)
    line = ProgressLine(0, total=2)
    for step in (1, 2):
        clock.seconds += 60
        line.update(step, "loss 1")
    line.close()
    assert capsys.readouterr().err == ""
