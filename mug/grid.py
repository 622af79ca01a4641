"""Positions of the cells of phi's grid in a frame. Only this module defines them.

Every strided layer of a residual network has an odd kernel, padded by half of it, and is therefore centred on the first
pixel of its stride. Cell i of a grid of stride s is centred on pixel s i, not in the middle of the s pixels that start
there. In the coordinates of torch's sampling with `align_corners=False`, where pixel p of S is at (2 p + 1) / S - 1,
this is (2 s i + 1) / S - 1.

With a stride of 1, cells are pixels. For networks with another layout, `first` is the pixel on which cell 0 is centred:
0 for phi, (s - 1) / 2 for the patches of a transformer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Map = TypeVar("Map", np.ndarray, Tensor)


def compose(outer: Map, inner: Map) -> Map:
    """The affine map (..., 2, 3) that applies `inner`, then `outer`."""
    linear: Map = outer[..., :2] @ inner
    linear[..., 2:] += outer[..., 2:]
    return linear


def cells_to_frame(cells: Tensor, size: int | Tensor, stride: int) -> Tensor:
    """Converts positions in cells, which may be fractional, to [-1, 1] coordinates of a frame of `size` pixels."""
    return (2 * stride * cells + 1) / size - 1


def frame_to_cells(points: Tensor, size: int | Tensor, stride: int) -> Tensor:
    """The inverse of `cells_to_frame`."""
    return ((points + 1) * size - 1) / (2 * stride)


def warp_cells(theta: Tensor, grid: Sequence[int], stride: int = 1) -> Tensor:
    """Warps the h x w cells of a frame's grid: (B, 2, 3) -> target positions (B, h w, 2), (x, y) in cells.

    Args:
        theta: Affine warps from [-1, 1] coordinates of a frame to those of another of the same size.
        grid: h and w.
        stride: Pixels per cell; the frames are h and w times as large.
    """
    size = theta.new_tensor([grid[1] * stride, grid[0] * stride])
    y, x = torch.meshgrid(*(torch.arange(n, device=theta.device, dtype=theta.dtype) for n in grid), indexing="ij")
    points = cells_to_frame(torch.stack([x, y], -1).flatten(0, 1), size, stride)
    return frame_to_cells(points @ theta[..., :2].transpose(1, 2) + theta[..., 2].unsqueeze(1), size, stride)


def enlarge(
    maps: Tensor,
    size: Sequence[int],
    frame: Sequence[int],
    stride: int,
    first: float = 0.0,
    mode: Literal["bilinear", "nearest"] = "bilinear",
) -> Tensor:
    """Interpolates maps (B, C, h, w) from the grid of a network to a size in pixels: (B, C, *size).

    Args:
        maps: Values on the grid; those of the outermost cells are replicated beyond it.
        size: Height and width of the output: those of the video.
        frame: Height and width in pixels of the network's input.
        stride: Input pixels per cell.
        first: Input pixel on which cell 0 is centred.
        mode: `nearest` gives every pixel the value of the cell with the nearest centre.
    """
    rows = []
    for side, cells in ((frame[1], maps.shape[-1]), (frame[0], maps.shape[-2])):
        # grid_sample uses [-1, 1] coordinates of the map, whose pixels are the cells
        borders = frame_to_cells(torch.tensor([-1.0, 1.0]), side, stride) - first / stride
        ends = cells_to_frame(borders, cells, 1).tolist()
        rows.append(((ends[1] - ends[0]) / 2, (ends[1] + ends[0]) / 2))
    (x, left), (y, top) = rows
    theta = maps.new_tensor([[[x, 0, left], [0, y, top]]]).expand(len(maps), 2, 3)
    points = F.affine_grid(theta, [len(maps), 1, *size], align_corners=False)
    return F.grid_sample(maps, points, mode=mode, padding_mode="border", align_corners=False)


def shrink(maps: Tensor, grid: Sequence[int], frame: Sequence[int], stride: int, first: float = 0.0) -> Tensor:
    """Averages maps (B, C, H, W) of a frame over each cell: (B, C, *grid).

    Args:
        maps: Of any resolution; they cover the whole frame.
        grid: h and w.
        frame: Height and width in pixels of the network's input.
        stride: Input pixels per cell. A cell extends half a stride to each side, within the frame.
        first: Input pixel on which cell 0 is centred.
    """
    rows, columns = (
        _overlaps(maps, pixels, cells, side / pixels, stride, first)
        for pixels, cells, side in zip(maps.shape[-2:], grid, frame, strict=True)
    )
    return rows @ maps @ columns.T


def at_cells(
    maps: Tensor,
    grid: Sequence[int],
    frame: Sequence[int],
    stride: int,
    first: float = 0.0,
    mode: Literal["bilinear", "nearest"] = "bilinear",
) -> Tensor:
    """Samples maps (B, C, H, W) of a frame at the centre of each cell: (B, C, *grid). Arguments as in `shrink`."""
    ends = []
    for cells, side in zip(grid[::-1], frame[::-1], strict=True):
        ends.append(cells_to_frame(first / stride + torch.arange(cells, device=maps.device), side, stride))
    x, y = torch.meshgrid(*ends, indexing="xy")
    points = torch.stack([x, y], -1).to(maps)[None].expand(len(maps), -1, -1, -1)
    return F.grid_sample(maps, points, mode=mode, padding_mode="border", align_corners=False)


def _overlaps(like: Tensor, pixels: int, cells: int, size: float, stride: int, first: float) -> Tensor:
    """(cells, pixels): the share of each cell covered by each pixel of length `size`, along one side of a frame."""
    start = size * torch.arange(pixels, device=like.device, dtype=like.dtype)
    centre = first + 0.5 + stride * torch.arange(cells, device=like.device, dtype=like.dtype)[:, None]
    covered = torch.minimum(centre + stride / 2, start + size) - torch.maximum(centre - stride / 2, start)
    covered = covered.clamp_min(0)
    return covered / covered.sum(1, keepdim=True)
