"""Readout of a frame's foreground from its node's last state (AGNN Eq. 11)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mug.norm import BatchNorm


class Readout(nn.Module):
    """R_FCN: two 3x3 convolutions and one 1x1 on [h^K, v] (AGNN Eq. 11, Sec. 3.2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 3, padding=1, bias=False), BatchNorm(channels), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), BatchNorm(channels), nn.ReLU(),
            nn.Conv2d(channels, 1, 1),
        )  # fmt: skip

    @property
    def output(self) -> nn.Conv2d:
        """The last layer."""
        last = self.layers[-1]
        assert isinstance(last, nn.Conv2d)
        return last

    def forward(self, state_bchw: Tensor, v_bchw: Tensor) -> Tensor:
        """Both (B, C, h, w) -> logits (B, 1, h, w)."""
        return self.layers(torch.cat([state_bchw, v_bchw], 1))
