"""States that a run goes on from."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import pytest
import torch

from mug.errors import InputError
from mug.run.checkpoints import Checkpoints


def test_two_checkpoints_are_kept_and_the_newest_readable_one_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.load() is None
    assert checkpoints.latest_step() is None
    for step in (1, 2, 3):
        checkpoints.save(step, {"step": step, "model": {"w": torch.full((2,), float(step))}})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step0000002.pt", "step0000003.pt"]
    assert checkpoints.latest_step() == 3
    state = checkpoints.load()
    assert state is not None
    assert state["step"] == 3
    (tmp_path / "step0000003.pt").write_bytes(b"half")
    state = checkpoints.load()
    assert state is not None
    assert state["step"] == 2
    assert "step0000003.pt" in capsys.readouterr().err
    (tmp_path / "step0000002.pt").write_bytes(b"half")
    with pytest.raises(InputError, match="no checkpoint can be read"):
        checkpoints.load()


def test_a_checkpoint_that_fails_to_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"step": 1})

    def fail(state: object, file: BinaryIO) -> None:
        file.write(b"half of it")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        checkpoints.save(2, {"step": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["step0000001.pt"]
