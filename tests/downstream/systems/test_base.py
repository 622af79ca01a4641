"""A system is a file and a row of the table; the commands know nothing else of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from downstream.systems.base import SYSTEMS
from mug.cli import main

Squares = Callable[..., Path]

FIFTH = '''
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from downstream.options import PropagateOptions, SegmentOptions
from downstream.systems.base import Part, System, ZeroShot


@dataclass(kw_only=True)
class Options(SegmentOptions):
    level: float = 0.7
    """Foreground probability of everything."""


@dataclass(kw_only=True)
class Given(PropagateOptions):
    """Nothing of its own."""


def open_zero_shot(options: Options, device) -> ZeroShot:
    return ZeroShot(lambda video: (np.full(video.size, options.level, np.float32) for _ in video))


def open_one_shot(options: Given, device):
    return lambda video, masks: (masks[video.frame_names[0]] for _ in video)


SYSTEM = System(zero_shot=Part(Options, "fifth:open_zero_shot"), one_shot=Part(Given, "fifth:open_one_shot"))
'''


@pytest.fixture
def fifth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth system: a constant map, or the mask that was given, for ever."""
    (tmp_path / "fifth.py").write_text(FIFTH)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "fifth", raising=False)
    monkeypatch.setitem(SYSTEMS, "constant", "fifth:SYSTEM")


@pytest.mark.parametrize(("level", "area"), [("0.9", 1.0), ("0.2", 0.0)])
def test_it_finds_objects(fifth: None, moving_squares: Squares, tmp_path: Path, level: str, area: float) -> None:
    root = moving_squares(videos=1, frames=2)
    words = ["segment", str(root), "--system", "constant", "--level", level, "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert np.asarray(Image.open(tmp_path / "out/square0/00001.png")).mean() == area


def test_it_carries_masks(fifth: None, moving_squares: Squares, tmp_path: Path) -> None:
    root = moving_squares(videos=1, frames=3)
    assert main(["propagate", str(root), "--system", "constant", "--out", str(tmp_path / "out")]) == 0
    first, last = (np.asarray(Image.open(tmp_path / f"out/square0/{n:05d}.png")) for n in (0, 2))
    assert first.any()
    assert np.array_equal(first, last)


def test_help_lists_its_options_alone(fifth: None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["segment", "--system=constant", "--help"])
    text = capsys.readouterr().out
    assert "Foreground probability of everything" in text
    assert "--refine" in text
    assert "--mode" not in text
    assert "--graph" not in text


def test_a_task_that_it_has_not_is_refused(fifth: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["finetune", "constant", "--data", "x", "--out", "y"]) == 2
    assert "system constant: is none that can be trained; give agnn" in capsys.readouterr().err


def test_a_file_may_name_the_system(fifth: None, moving_squares: Squares, tmp_path: Path) -> None:
    (tmp_path / "how.yaml").write_text("system: constant\nlevel: 0.9\n")
    words = ["--config", str(tmp_path / "how.yaml"), "--out", str(tmp_path / "out")]
    assert main(["segment", str(moving_squares(videos=1, frames=1)), *words]) == 0
    assert np.asarray(Image.open(tmp_path / "out/square0/00000.png")).all()
