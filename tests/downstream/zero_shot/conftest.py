"""An untrained model and a drawn video for it to look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mug.media.video import Video, open_video
from mug.model import MuG
from mug.options import BackboneConfig, ModelConfig


@pytest.fixture(scope="session")
def model() -> MuG:
    torch.manual_seed(0)
    return MuG(ModelConfig(backbone=BackboneConfig(stages=2))).eval()


@pytest.fixture
def square(moving_squares: Callable[..., Path]) -> Callable[[int], Video]:
    """Makes the video of a moving square, of so many frames."""
    return lambda frames: open_video(moving_squares(videos=1, frames=frames) / "JPEGImages" / "480p" / "square0")
