"""Disks that fill, folders that may not be written to, and folders that are removed while results are written there."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from mug.cli import main
from mug.media.files import atomic_path
from mug.media.results import Results
from mug.networks.tensors import read_tensors
from mug.run.checkpoints import Checkpoints
from mug.run.log import MetricsLog
from tests.reliability.world import snapshot, words_of


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """Lets no file grow beyond a number of bytes; to a program, that is as if the disk was full."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("mug: error: ")]


def test_a_mask_that_does_not_fit_is_told_and_leaves_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(root)
    for command in ("segment", "synth"):
        with small_files(100):
            assert main(words_of(command, root)) == 2
        (line,) = said(capsys)
        assert f"{root / 'out'}" in line and "files may not grow larger here" in line
        assert snapshot(root) == before


def test_old_results_survive_new_ones_that_do_not_fit(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*words_of("propagate", root), "--overlay", "--overwrite"]
    assert main(words) == 0
    before = snapshot(root)
    with small_files(700):  # masks fit, the movie does not
        assert main(words) == 2
    assert len(said(capsys)) == 1
    assert snapshot(root) == before


def test_a_training_whose_checkpoint_does_not_fit_keeps_the_last_one(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*words_of("finetune", root), "--steps", "3", "--save_every", "1"]
    save = Checkpoints.save

    def limited(self: Checkpoints, step: int, state: dict[str, object]) -> Path:
        with small_files(10_000 if step == 2 else resource.RLIM_INFINITY):
            return save(self, step, state)

    monkeypatch.setattr(Checkpoints, "save", limited)
    assert main(words) == 2
    (line,) = said(capsys)
    assert f"{root}/out/checkpoints/step0000002.pt: files may not grow larger here" in line
    assert Checkpoints(root / "out/checkpoints").latest_step() == 1
    monkeypatch.undo()
    assert main(words) == 0
    assert "goes on" not in said(capsys)
    read_tensors(root / "out/agnn.safetensors")


def test_a_full_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A real one of 300 kB, which only root can make."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)]
    if os.geteuid() or shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        words = ["synth", str(disk / "out"), "--videos", "4", "--frames", "8"]
        assert main(words) == 2
        assert "only 0 MiB are free on its disk" in said(capsys)[0]
        assert list(disk.iterdir()) == []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mug.media.files.MIN_FREE_BYTES", 0)
            patch.setattr("mug.media.files.require_free_disk", lambda folder: None)
            assert main(words) == 2
        (line,) = said(capsys)
        assert str(disk / "out") in line and "the disk is full" in line
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("command", ["synth", "segment", "prior", "finetune", "cosegment"])
def test_a_folder_that_may_not_be_written_to(
    command: str, root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write everywhere, so the system is asked in its place."""
    (root / "out").mkdir()
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != root / "out" and access(path, mode))
    before = snapshot(root)
    assert main(words_of(command, root)) == 2
    (line,) = said(capsys)
    assert f"{root / 'out'}" in line and "cannot be written to" in line
    assert snapshot(root) == before


def test_results_that_are_removed_underneath(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = Results(tmp_path / "out", ["dog"])
    mask = np.zeros((4, 4), np.uint8)

    def work() -> None:
        with results.sequence("dog"):
            results.write_mask("dog", "00000", mask)
            shutil.rmtree(tmp_path / "out")
            results.write_mask("dog", "00001", mask)

    line = refused_by(work)
    assert line == f"{tmp_path / 'out/dog'}: was removed while masks were written there; start again"
    again = Results(tmp_path / "out", ["dog"], resume=True, overwrite=True)
    assert not again.finished


def test_a_run_that_is_removed_underneath(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "run/metrics.csv", ("step", "loss"), 0)
    log.write({"step": 0, "loss": 1.0})
    shutil.rmtree(tmp_path / "run")
    line = refused_by(lambda: log.write({"step": 1, "loss": 1.0}))
    assert line.startswith(f"{tmp_path / 'run/metrics.csv'}: was removed while the run wrote to it")
    log.close()
    assert not (tmp_path / "run").exists()


def refused_by(work: Callable[[], None]) -> str:
    from mug.errors import RunError

    with pytest.raises(RunError) as error:
        work()
    return str(error.value)


def test_an_error_of_the_disk_names_the_file_that_was_to_be_written(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_path(tmp_path / "table.csv") as temporary, small_files(10):
            temporary.write_text("much more than that")

    with pytest.raises(OSError, match="too large") as error:
        write()
    assert error.value.filename == str(tmp_path / "table.csv")
    assert list(tmp_path.iterdir()) == []
