"""The examples run, each as its own first lines say, and are short."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
Squares = Callable[..., Path]


def run(name: str, *words: object, place: Path) -> str:
    """What an example prints, run from the clone's folder as a user would."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "examples" / name), *map(str, words)]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_they_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 25


def test_there_are_five() -> None:
    assert [path.stem for path in EXAMPLES] == ["features", "finetune", "live", "score", "segment"]


def test_features_of_a_frame(moving_squares: Squares, tmp_path: Path) -> None:
    clip = moving_squares(videos=1, frames=2, height=48, width=64) / "JPEGImages/480p/square0"
    assert "(1, 64, 6, 8)" in run("features.py", clip, place=tmp_path)


def test_a_live_loop(moving_squares: Squares, tmp_path: Path) -> None:
    root = moving_squares(videos=1, frames=3)
    mask = root / "Annotations/480p/square0/00000.png"
    assert "frame 2" in run("live.py", root / "JPEGImages/480p/square0", mask, place=tmp_path)
    assert np.asarray(Image.open(tmp_path / "last.png")).any()


def test_masks_of_a_clip(moving_squares: Squares, tmp_path: Path) -> None:
    clip = moving_squares(videos=1, frames=3) / "JPEGImages/480p/square0"
    run("segment.py", clip, tmp_path / "out", place=tmp_path)
    assert len(list((tmp_path / "out").glob("*.png"))) == 3


def test_agnn_on_your_masks(moving_squares: Squares, tmp_path: Path) -> None:
    root = moving_squares(videos=2, frames=4)
    assert "square1: " in run("finetune.py", root, tmp_path / "run", place=ROOT)


def test_a_score(moving_squares: Squares, tmp_path: Path) -> None:
    root = moving_squares(videos=1, frames=4)
    assert "J 100.0, F 100.0" in run("score.py", root, root / "Annotations/480p", place=tmp_path)
