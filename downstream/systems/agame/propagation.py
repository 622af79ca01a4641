"""Mask propagation of A-GAME: where an object is, from the frame and its previous mask (after RGMP, CVPR 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from downstream.systems.agame.layers import conv

RATES = (1, 3, 6)
"""Dilations of the second layer's pyramid, in cells (A-GAME's release)."""


class MaskPropagation(nn.Module):
    """Three convolutions, 1x1, a pyramid of dilated 3x3 and 3x3, on the features of a frame and the previous mask.

    With `reference`, also on the features of the frame of the given mask, and on that mask. The first layer is one
    convolution of all of these, as a sum of parts: that of the frame is the same for all objects, that of the reference
    for all frames. Each part is initialised by itself, so that a mask is heard beside hundreds of features.

    Args:
        in_channels: Channels of the trunk's last map.
        width: Channels of each layer; the pyramid has three times as many.
        reference: Whether the frame of the given mask is seen.
    """

    def __init__(self, in_channels: int, width: int, reference: bool = True) -> None:
        super().__init__()
        self.frame, self.mask = conv(in_channels, width, 1), conv(1, width, 1, bias=False)
        if reference:
            self.first_frame = conv(in_channels, width, 1, bias=False)
            self.first_mask = conv(1, width, 1, bias=False)
        self.pyramid = nn.ModuleList([conv(width, width, 3, rate) for rate in RATES])
        self.output = conv(len(RATES) * width, width, 3)
        self._reference = reference

    def begin(self, deep_mchw: Tensor, y_m1hw: Tensor) -> Tensor | None:
        """Part (M, width, h, w) of the frame of the given mask; None if that is not seen."""
        if not self._reference:
            return None
        return self.first_frame(deep_mchw) + self.first_mask(y_m1hw.to(self.mask.weight.dtype))

    def forward(self, frame_mchw: Tensor, y_m1hw: Tensor, reference_mchw: Tensor | None) -> Tensor:
        """(M, width, h, w), non-negative.

        Args:
            frame_mchw: Result of `frame` for each object's frame.
            y_m1hw: The previous mask, (M, 1, h, w) in [0, 1].
            reference_mchw: Result of `begin`.
        """
        h = frame_mchw + self.mask(y_m1hw.to(self.mask.weight.dtype))
        h = (h if reference_mchw is None else h + reference_mchw).relu()
        return self.output(torch.cat([layer(h) for layer in self.pyramid], 1).relu()).relu()
