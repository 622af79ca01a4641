"""Where the cells of a backbone's feature map lie in its frame, whatever the backbone.

Phi and plain residual networks centre cell i on pixel stride * i (`mug.grid`), transformers in the middle of a patch. A
backbone that knows says so in an attribute `cells`; the cells of one that does not share the frame evenly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor

from mug import grid


class Cells(NamedTuple):
    """What a backbone says of its cells."""

    stride: int
    """Pixels of the frame to a cell."""
    first: float = 0.0
    """Pixel on which cell 0 is centred, across and down."""


def cells_of(extract: Any) -> Cells | None:
    """What a backbone says of its cells; None: nothing."""
    cells: Cells | None = getattr(extract, "cells", None)
    return cells


class Lattice(NamedTuple):
    """How the cells of a feature map lie over one frame."""

    frame: Sequence[int] = (1, 1)
    """Height and width in pixels at which the backbone saw it."""
    cells: Cells | None = None
    """None: they share the frame evenly."""

    def enlarge(self, maps: Tensor, size: Sequence[int], mode: Literal["bilinear", "nearest"] = "bilinear") -> Tensor:
        """Interpolates maps (B, C, h, w) of cells to a size in pixels, whatever the size: (B, C, *size)."""
        if self.cells is None and mode == "nearest":
            return F.interpolate(maps, tuple(size), mode="nearest-exact")
        if self.cells is None:
            return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)
        return grid.enlarge(maps, size, self.frame, *self.cells, mode=mode)

    def shrink(self, maps: Tensor, size: Sequence[int], how: Literal["area", "bilinear", "nearest"] = "area") -> Tensor:
        """Brings maps (B, C, H, W) of the frame, at any size, to the cells: (B, C, *size).

        Args:
            maps: What is brought there.
            size: h and w, the cells.
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
"""Cells, or pixels, that share their frame evenly."""
