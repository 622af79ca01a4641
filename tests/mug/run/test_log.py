"""What a run says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

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


def test_the_progress_line_is_quiet_between_minutes(capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([0.0, 1.0, 30.0, 61.0, 62.0, 70.0])
    line = ProgressLine(total=10, now=lambda: next(clock))
    for step in (1, 2, 3, 4, 10):
        line.update(step, "loss 1")
    line.close()
    printed = capsys.readouterr().err.splitlines()
    assert [text.split()[1] for text in printed] == ["3/10", "10/10"]
    assert "left" in printed[0]
