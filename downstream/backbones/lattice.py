"""Position of feature map cells in the frame, for any backbone.

Phi and plain residual networks centre cell i on pixel stride * i (`mug.grid`), transformers on the middle of a patch. A
backbone states this in an attribute `cells`; without it, the cells are taken to divide the frame evenly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor

from mug import grid


class Cells(NamedTuple):
    """Position of a backbone's cells in the frame."""

    stride: int
    """Pixels of the frame per cell."""
    first: float = 0.0
    """Pixel on which cell 0 is centred, in x and in y."""


def cells_of(extract: Any) -> Cells | None:
    """The `cells` of a backbone; None if it does not state them."""
    cells: Cells | None = getattr(extract, "cells", None)
    return cells


class Lattice(NamedTuple):
    """Position of the cells of a feature map in one frame."""

    frame: Sequence[int] = (1, 1)
    """Height and width of the frame at the backbone's input, in pixels."""
    cells: Cells | None = None
    """None: the cells divide the frame evenly."""

    def enlarge(self, maps: Tensor, size: Sequence[int], mode: Literal["bilinear", "nearest"] = "bilinear") -> Tensor:
        """Interpolates maps (B, C, h, w) of cells to any size in pixels: (B, C, *size)."""
        if self.cells is None and mode == "nearest":
            return F.interpolate(maps, tuple(size), mode="nearest-exact")
        if self.cells is None:
            return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)
        return grid.enlarge(maps, size, self.frame, *self.cells, mode=mode)

    def shrink(self, maps: Tensor, size: Sequence[int], how: Literal["area", "bilinear", "nearest"] = "area") -> Tensor:
        """Resamples maps (B, C, H, W) of the frame, at any size, to the cells: (B, C, *size).

        Args:
            maps: Maps of the frame.
            size: h and w, in cells.
            how: The mean over each cell (`area`), or the value at its centre, interpolated (`bilinear`) or not.
        """
        if how == "area":
            if self.cells is None:
                return F.adaptive_avg_pool2d(maps, (size[0], size[1]))
            return grid.shrink(maps, size, self.frame, *self.cells)
        if self.cells is None:
            return self.enlarge(maps, size, how)
        return grid.at_cells(maps, size, self.frame, *self.cells, mode=how)


EVEN = Lattice()
"""Cells, or pixels, that divide their frame evenly."""
