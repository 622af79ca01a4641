"""Fixtures that every test may ask for."""

from __future__ import annotations

import os

# before the first import of torch or numpy: on a shared machine more threads only get in each other's way
os.environ.setdefault("OMP_NUM_THREADS", "2")

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.squares import write_squares

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real videos and annotations; the test is skipped where it is absent."""
    folder = Path(os.environ.get("MUG_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"real data is absent: {folder} is no folder (set MUG_TEST_DATA to where it lies)")
    return folder


@pytest.fixture(autouse=True)
def warned_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test before was warned of, this one is warned of again, as on the command line."""
    from mug.command.messages import show_messages

    show_messages()
    monkeypatch.setattr("mug.errors._warned", set())


@pytest.fixture
def moving_squares(tmp_path: Path) -> Callable[..., Path]:
    """Makes a dataset root in DAVIS layout with noise-textured squares that move a few pixels each frame.

    Called with the options of `write_squares`; gives the root.
    """
    return partial(write_squares, tmp_path / "squares")


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small untrained phi with a matching temperature; not to be changed."""
    import torch

    from mug.checkpoint import save_weights
    from mug.model import MuG
    from mug.options import BackboneConfig, ModelConfig

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "untrained.safetensors"
    model = MuG(ModelConfig(backbone=BackboneConfig(depth=18, stages=2, stride=8))).eval()
    save_weights(path, model, {"one_shot_temperature": "0.01"})
    return path
