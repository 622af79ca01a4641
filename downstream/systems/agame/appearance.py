"""Appearance module of A-GAME: learned features and variances around the closed form of `one_shot.gaussians`."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from downstream.one_shot.gaussians import Gaussians, fit, log_scores, updated
from downstream.systems.agame.layers import conv
from mug.precision import widen

FLOOR = -2.0
"""Initial value of r before the softplus: r = 0.127."""


class Appearance(nn.Module):
    """Gaussians of background and object over features of the frame; nothing is learned by gradients in testing.

    Args:
        in_channels: Channels of the trunk's last map.
        channels: C, features of the model.
        components: K, 2 or 4.
        rate: lambda.
        scores: Output: log scores, or their softmax.
        end_to_end: Whether estimates are differentiated.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        components: Literal[2, 4] = 4,
        rate: float = 0.1,
        scores: Literal["log", "softmax"] = "log",
        end_to_end: bool = True,
    ) -> None:
        super().__init__()
        self.project = conv(in_channels, channels, 1)
        self.floor = nn.Parameter(torch.full((components, channels), FLOOR))
        self._rate, self._softmax, self._end_to_end = rate, scores == "softmax", end_to_end

    def look(self, deep_bchw: Tensor) -> Tensor:
        """Features x of frames, (B, C, h, w), at least single precision."""
        return widen(self.project(deep_bchw))

    def begin(self, x_mchw: Tensor, y_m1hw: Tensor) -> Gaussians:
        """Parameters from a given mask, (M, 1, h, w) in [0, 1]."""
        theta = fit(x_mchw.flatten(2), y_m1hw.flatten(1), softplus(widen(self.floor)))
        return theta if self._end_to_end else theta.detach()

    def update(self, theta: Gaussians, x_mchw: Tensor, y_m1hw: Tensor) -> Gaussians:
        """Parameters after a frame with the predicted mask, (M, 1, h, w) in [0, 1]."""
        return updated(theta, self.begin(x_mchw, y_m1hw), self._rate) if self._rate else theta

    def forward(self, x_mchw: Tensor, theta: Gaussians) -> Tensor:
        """Scores of the components, (M, K, h, w): s_k / C, or the softmax of s_k.

        The sum over C features becomes their mean, which is about 1 at any C. The next convolution absorbs the factor,
        but begins with kernels for inputs of that size.
        """
        scores = log_scores(x_mchw.flatten(2), theta).unflatten(2, x_mchw.shape[2:])
        return scores.softmax(1) if self._softmax else scores / x_mchw.shape[1]
