"""Fusion, coarse mask, upsampling and final mask of A-GAME."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from downstream.systems.agame.layers import conv
from mug.precision import widen


class Fusion(nn.Module):
    """Two 3x3 convolutions on the scores of appearance beside the map of mask propagation, and the coarse mask.

    The first is a sum of two parts. Each is initialised by itself, so that the few scores are heard.

    Args:
        components: K, scores of each position; 0 without an appearance model.
        moved: Channels of mask propagation; 0 without it.
        width: Channels after the first convolution.
        fine: Channels of the output.
    """

    def __init__(self, components: int, moved: int, width: int, fine: int) -> None:
        super().__init__()
        self.scores = conv(components, width, 3) if components else None
        self.moved = conv(moved, width, 3, bias=not components) if moved else None
        self.output = conv(width, fine, 3)
        self.coarse = conv(fine, 1, 1)

    def forward(self, scores_mkhw: Tensor | None, moved_mchw: Tensor | None) -> tuple[Tensor, Tensor]:
        """The fused map (M, fine, h, w), non-negative, and the logits of the coarse mask (M, 1, h, w)."""
        parts = []
        if self.scores is not None:
            assert scores_mkhw is not None
            # half precision would round log scores of thousands by more than they differ
            with torch.autocast(scores_mkhw.device.type, enabled=False):
                weight, bias = widen(self.scores.weight), widen(self.scores.bias)  # type: ignore[arg-type]
                read = F.conv2d(widen(scores_mkhw), weight, bias, padding=1)
            parts.append(read.to(self.scores.weight.dtype))
        if self.moved is not None:
            parts.append(self.moved(moved_mchw))
        fused = self.output(sum(parts[1:], start=parts[0]).relu()).relu()
        return fused, self.coarse(fused)


class Upsampling(nn.Module):
    """Joins the fused map with shallower maps of the trunk, one after the other, and reads the final mask.

    Args:
        skips: Channels of these maps, from deep to shallow.
        fine: Channels of each join.
    """

    def __init__(self, skips: Sequence[int], fine: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList([conv(channels, fine, 1) for channels in skips])
        self.blend = nn.ModuleList([conv(2 * fine, fine, 3) for _ in skips])
        self.final = conv(fine, 1, 3)

    def skips(self, maps_bchw: Sequence[Tensor]) -> list[Tensor]:
        """The shallower maps, projected to (B, fine, h_k, w_k)."""
        return [layer(x).relu() for layer, x in zip(self.lateral, maps_bchw, strict=True)]

    def forward(self, fused_mchw: Tensor, skips_mchw: Sequence[Tensor]) -> Tensor:
        """Logits of the final mask (M, 1, h, w) on the grid of the last skip."""
        h = fused_mchw
        for layer, skip in zip(self.blend, skips_mchw, strict=True):
            grown = F.interpolate(h, skip.shape[-2:], mode="bilinear", align_corners=False)
            h = layer(torch.cat([skip, grown], 1)).relu()
        return self.final(h)
