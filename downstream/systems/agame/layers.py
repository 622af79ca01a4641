"""Convolutions of A-GAME, initialised for rectifiers (He et al. 2015), without norms."""

from __future__ import annotations

from torch import nn


def conv(in_channels: int, out_channels: int, kernel: int, rate: int = 1, bias: bool = True) -> nn.Conv2d:
    """A convolution that keeps the size of the map; `rate` is its dilation."""
    made = nn.Conv2d(in_channels, out_channels, kernel, padding=rate * (kernel // 2), dilation=rate, bias=bias)
    nn.init.kaiming_uniform_(made.weight)
    if made.bias is not None:
        nn.init.zeros_(made.bias)
    return made
