"""A data set in DAVIS layout and results that match it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.downstream.evaluate.encodings import FRAMES

Squares = Callable[..., Path]


@pytest.fixture
def truth(moving_squares: Squares) -> Path:
    """Two sequences of six frames with two objects each."""
    return moving_squares(videos=2, frames=FRAMES, objects=2)


@pytest.fixture
def results(truth: Path, tmp_path: Path) -> Path:
    """Perfect results."""
    folder = tmp_path / "results"
    shutil.copytree(truth / "Annotations" / "480p", folder)
    return folder
