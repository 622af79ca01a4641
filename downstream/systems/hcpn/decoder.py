"""Decoder: a mask and its contours from the stages, and motion contour restriction (HCPN Sec. III-D, Eq. 5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mug.networks.pyramid import ASPP, convolution
from mug.precision import widen

OPEN = 4.0
"""Initial log odds of the reference R: at first the mask is left alone."""
VOTERS = 7
"""Side in cells of the window in which contours vote."""


class Decoder(nn.Module):
    """A pyramid on the deepest stage, merged with ever shallower ones.

    At each stage a convolution predicts contours, and at the last one the coarse mask T. The contours, at the size of
    T, restrict it (Eq. 5).

    Args:
        in_channels: Of each stage, from shallow to deep.
        rates: Dilations of the pyramid.
        channels: Of the decoder.
        contours: Whether there are contours.
    """

    def __init__(self, in_channels: Sequence[int], rates: tuple[int, int, int], channels: int, contours: bool) -> None:
        super().__init__()
        *shallow, deep = in_channels
        self.aspp = ASPP(deep, rates, channels)
        self.skips = nn.ModuleList([convolution(width, channels, 1) for width in reversed(shallow)])
        self.merges = nn.ModuleList([convolution(channels, channels, 3) for _ in shallow])
        self.mask = nn.Conv2d(channels, 1, 3, padding=1)
        self.contours: nn.ModuleList | None = None
        if contours:
            self.contours = nn.ModuleList([nn.Conv2d(channels, 1, 3, padding=1) for _ in in_channels])
            self.restriction = Restriction()

    def forward(self, stages: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """V^ of each stage (B, C_j, h_j, w_j), shallow to deep -> logits of P (B, 1, h, w), of contours (B, J, h, w).

        The grid is that of the shallowest stage.
        """
        *shallow, deep = stages
        merged = [self.aspp(deep)]
        for skip, merge, v_bchw in zip(self.skips, self.merges, reversed(shallow), strict=True):
            merged.append(merge(_sized(merged[-1], v_bchw) + skip(v_bchw)))
        mask = self.mask(merged[-1])
        if self.contours is None:
            return mask, None
        contours = [_sized(conv(x), mask) for conv, x in zip(self.contours, merged, strict=True)]
        found = torch.cat(contours, 1)
        return self.restriction(mask, found), found


class Restriction(nn.Module):
    """P = R(sum_j P^r_j) o T: contours vote for where the mask may be (HCPN Eq. 5).

    The paper does not define R. Here it is the sigmoid of a 7x7 convolution of the sum, which starts at almost 1
    everywhere. All maps are logits, that of the product included, so that its cross-entropy is exact.
    """

    def __init__(self) -> None:
        super().__init__()
        self.vote = nn.Conv2d(1, 1, VOTERS, padding=VOTERS // 2)
        nn.init.zeros_(self.vote.weight)
        assert self.vote.bias is not None
        nn.init.constant_(self.vote.bias, OPEN)

    def forward(self, mask_b1hw: Tensor, contours_bjhw: Tensor) -> Tensor:
        """Logits of T (B, 1, h, w) and of the contours (B, J, h, w) -> logits of P (B, 1, h, w)."""
        reference = self.vote(contours_bjhw.sigmoid().sum(1, keepdim=True))
        return logit_of_product(mask_b1hw, reference)


def logit_of_product(a: Tensor, b: Tensor) -> Tensor:
    """logit(sigma(a) sigma(b)) = -log(e^-a + e^-b + e^-(a + b)), without overflow."""
    a, b = widen(a), widen(b)
    return -torch.logsumexp(torch.stack([-a, -b, -a - b]), 0)


def _sized(x_bchw: Tensor, like_bchw: Tensor) -> Tensor:
    return F.interpolate(x_bchw, like_bchw.shape[-2:], mode="bilinear", align_corners=False)
