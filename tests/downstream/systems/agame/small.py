"""A small A-GAME on phi with two groups, and clips for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from downstream.systems.agame import AGAMEConfig
from downstream.systems.agame.network import AGAME
from mug.options import BackboneConfig, TrunkConfig

SMALL = AGAMEConfig(TrunkConfig(backbone=BackboneConfig(depth=18, stages=2, stride=8)), channels=6, width=8, fine=8)


def network(seed: int = 0, **changes: Any) -> AGAME:
    """A network with random weights in double precision and evaluation mode."""
    torch.manual_seed(seed)
    return AGAME(replace(SMALL, **changes)).double().eval()


def clip(videos: int = 2, frames: int = 3, objects: int = 3, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Frames (B, N, 3, H, W) and soft first masks (M, 1, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    made = torch.rand(videos, frames, 3, 32, 48, generator=generator, dtype=torch.float64)
    return made, torch.rand(objects, 1, 32, 48, generator=generator, dtype=torch.float64)
