"""Cross co-attention of the motion seen from two frames (HCPN Eq. 3)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from downstream.systems.hcpn.gates import ChannelAttention

REDUCTION = 4
"""Factor by which the branches of GAF reduce the channels, as in the authors' release."""


class GlobalLocalFusion(nn.Module):
    """GAF: sigma(G(F) + L(F)) F with F = x + y (HCPN Sec. III-B).

    G is convolution, ReLU, convolution on the mean over all positions, L the same on each position; kernels are 1x1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.overall, self.local = _squeezed(channels), _squeezed(channels)

    def forward(self, x_bchw: Tensor, y_bchw: Tensor) -> Tensor:
        """Both (B, C, h, w) -> (B, C, h, w)."""
        both = x_bchw + y_bchw
        return both * torch.sigmoid(self.overall(both.mean((2, 3), keepdim=True)) + self.local(both))


class Concatenation(nn.Module):
    """A 1x1 convolution on [x, y] (HCPN Table I)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x_bchw: Tensor, y_bchw: Tensor) -> Tensor:
        """Both (B, C, h, w) -> (B, C, h, w)."""
        return self.mix(torch.cat([x_bchw, y_bchw], 1))


class Addition(nn.Module):
    """x + y (HCPN Table I)."""

    def forward(self, x_bchw: Tensor, y_bchw: Tensor) -> Tensor:
        """Both (B, C, h, w) -> (B, C, h, w)."""
        return x_bchw + y_bchw


class CrossCoAttention(nn.Module):
    """N^+ = C(N^) GAF C(N^'): one motion map from those of the two frames (HCPN Eq. 3)."""

    def __init__(self, channels: int, fusion: Literal["gaf", "addition", "concatenation"]) -> None:
        super().__init__()
        self.attention = ChannelAttention(channels)
        self.fuse: nn.Module
        if fusion == "gaf":
            self.fuse = GlobalLocalFusion(channels)
        else:
            self.fuse = Addition() if fusion == "addition" else Concatenation(channels)

    def forward(self, first_bchw: Tensor, second_bchw: Tensor) -> Tensor:
        """N^ and N^' (B, C, h, w) -> N^+ (B, C, h, w)."""
        fused: Tensor = self.fuse(self.attention(first_bchw), self.attention(second_bchw))
        return fused


def _squeezed(channels: int) -> nn.Sequential:
    narrow = max(channels // REDUCTION, 1)
    return nn.Sequential(nn.Conv2d(channels, narrow, 1), nn.ReLU(), nn.Conv2d(narrow, channels, 1))
