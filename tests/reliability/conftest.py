"""The world that tests of bad input spoil."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.reliability.world import build


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `tests.reliability.world`; not to be changed."""
    return build(tmp_path_factory.mktemp("world") / "root")


@pytest.fixture
def root(world: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(world, tmp_path / "root")
    return tmp_path / "root"
