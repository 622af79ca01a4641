"""Readout of a frame's foreground from its node's last state (AGNN Eq. 11)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from mug.norm import BatchNorm


class Readout(nn.Module):
    """R_FCN: two 3x3 convolutions and one 1x1 on [h^K, v] (AGNN Eq. 11, Sec. 3.2).

    Args:
        channels: C of each map.
        maps: Number of maps.
        layers: Number of 3x3 convolutions.
    """

    def __init__(self, channels: int, maps: int = 2, layers: int = 2) -> None:
        super().__init__()
        hidden: list[nn.Module] = []
        for width, following in pairwise([maps * channels] + layers * [channels]):
            hidden += [nn.Conv2d(width, following, 3, padding=1, bias=False), BatchNorm(following), nn.ReLU()]
        self.layers = nn.Sequential(*hidden, nn.Conv2d(channels, 1, 1))

    @property
    def output(self) -> nn.Conv2d:
        """The last layer."""
        last = self.layers[-1]
        assert isinstance(last, nn.Conv2d)
        return last

    def forward(self, *maps_bchw: Tensor) -> Tensor:
        """Maps, each (B, C, h, w) -> logits (B, 1, h, w)."""
        logits: Tensor = self.layers(torch.cat(maps_bchw, 1))
        return logits
