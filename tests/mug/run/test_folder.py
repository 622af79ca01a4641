"""Whose a run's folder is."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
import yaml

from mug import precision
from mug.errors import InputError
from mug.run.folder import RunFolder, claim, commit_of
from mug.run.options import Engine


def test_a_run_folder_is_claimed_once_and_refuses_another_config(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.claim({"lr": 0.1, "out": "x"})
    assert folder.claim({"lr": 0.1, "out": "y"}, free=("out",)) == {"lr": 0.1, "out": "x"}
    with pytest.raises(InputError, match=r"lr = 0\.1 and this one has 0\.2"):
        folder.claim({"lr": 0.2, "out": "x"})


def test_a_run_remembers_what_it_was_started_with(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert folder.recorded("engine", "threads") is None
    folder.claim({"engine": {"threads": 3}})
    assert folder.recorded("engine", "threads") == 3
    assert folder.recorded("engine", "threads", "more") is None


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match="no run"):
        RunFolder(tmp_path).claim({})
    assert sorted(os.listdir(tmp_path)) == ["holiday.jpg"]


@dataclass
class Options:
    """Options of a made-up run."""

    out: Path
    engine: Engine = field(default_factory=lambda: Engine(device="cpu"))


def units(patch: pytest.MonkeyPatch, there: bool) -> None:
    """Makes this machine one with or without bfloat16 units."""
    patch.setattr("mug.run.engine.has_units", lambda device_type: there)
    patch.setattr(precision, "has_units", lambda device_type: there)
    patch.setattr(precision, "slowdown", lambda device: 46.8)


@pytest.mark.parametrize(("there", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_a_run_records_and_keeps_the_precision_it_began_with(
    there: bool, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    units(monkeypatch, there)
    began = Options(tmp_path / "run")
    claim(began, ())
    assert began.engine.precision == precision
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text())["engine"]["precision"] == precision
    units(monkeypatch, not there)
    resumed = Options(tmp_path / "run")
    claim(resumed, ())
    assert resumed.engine.precision == precision
    other = Options(tmp_path / "run", Engine(device="cpu", precision="64-true"))
    with pytest.raises(InputError, match=f"engine.precision = '{precision}' and this one has '64-true'"):
        claim(other, ())


def test_a_missing_gpu_does_not_decide_the_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match="CUDA was asked for"):
        claim(Options(tmp_path / "run", Engine(device="cuda")), ())
    assert not (tmp_path / "run").exists()


def test_the_commit_is_empty_outside_of_git(tmp_path: Path) -> None:
    assert commit_of(tmp_path) == ""
