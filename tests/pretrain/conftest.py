"""Videos to pretrain on, and runs in real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.pretrain.tiny import make_videos


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Iterator[None]:
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(strict, warn_only=True)


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_videos(tmp_path_factory.mktemp("train") / "videos")


@pytest.fixture(scope="session")
def runs(videos: Path) -> tuple[Path, str]:
    """Runs in real processes (`whole`, `killed` at four moments, `one`, `two` at once), and what the script said."""
    script = Path(__file__).with_name("runs_in_children.py")
    command = [sys.executable, "-W", "ignore", str(script), str(videos), str(videos.parent)]
    environment = os.environ | {"PYTHONPATH": str(script.parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return videos.parent, done.stdout
