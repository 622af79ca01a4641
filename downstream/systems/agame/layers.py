"""Convolutions of A-GAME, initialised for rectifiers (He et al. 2015), without norms."""

from __future__ import annotations

import torch
from torch import nn


def conv(in_channels: int, out_channels: int, kernel: int, rate: int = 1, bias: bool = True) -> nn.Conv2d:
    """A convolution that keeps the size of the map; `rate` is its dilation."""
    made = nn.Conv2d(in_channels, out_channels, kernel, padding=rate * (kernel // 2), dilation=rate, bias=bias)
    nn.init.kaiming_uniform_(made.weight)
    if made.bias is not None:
        nn.init.zeros_(made.bias)
    return made


@torch.no_grad()
def begin_as_one(*parts: nn.Conv2d) -> None:
    """Initialises convolutions whose outputs are added like the one convolution of their concatenated inputs.

    The parts are computed apart because some of them are the same for several objects or frames.
    """
    kernel = torch.cat([part.weight for part in parts], 1)
    nn.init.kaiming_uniform_(kernel)
    for part, own in zip(parts, kernel.split([part.in_channels for part in parts], 1), strict=True):
        part.weight.copy_(own)
