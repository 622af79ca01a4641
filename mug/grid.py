"""Where the cells of phi's grid lie in a frame: stated here, and nowhere else.

Every strided layer of a residual network has an odd kernel, padded by half of it, so that it is centred on the first
pixel of its stride. Cell i of a grid of stride s is therefore centred on pixel s i, not in the middle of the s pixels
from there. In the coordinates that torch's sampling takes with `align_corners=False`, where pixel p of S lies at
(2 p + 1) / S - 1, that is (2 s i + 1) / S - 1.

With a stride of 1 cells are pixels. Where the cells of another network lie otherwise, `first` says on which pixel its
cell 0 is centred: 0 is phi's, and (s - 1) / 2 that of a transformer's patches.
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
    """The affine map (..., 2, 3) that does `inner`, then `outer`."""
    linear: Map = outer[..., :2] @ inner
    linear[..., 2:] += outer[..., 2:]
    return linear


def cells_to_frame(cells: Tensor, size: int | Tensor, stride: int) -> Tensor:
    """Positions in cells, whole or between, to [-1, 1] coordinates of a frame of `size` pixels."""
    return (2 * stride * cells + 1) / size - 1


def frame_to_cells(points: Tensor, size: int | Tensor, stride: int) -> Tensor:
    """The inverse of `cells_to_frame`."""
    return ((points + 1) * size - 1) / (2 * stride)


def warp_cells(theta: Tensor, grid: Sequence[int], stride: int = 1) -> Tensor:
    """Where an affine warp of a frame takes the h x w cells of its grid: (B, 2, 3) -> (B, h w, 2), (x, y) in cells.

    Args:
        theta: From [-1, 1] coordinates of a frame to those of another of the same size.
        grid: h and w.
        stride: Pixels to a cell; the frames have h and w times as many.
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
    """Interpolation of maps (B, C, h, w) on the grid of a network to a size in pixels: (B, C, *size).

    Args:
        maps: Beyond their outermost cells their values go on.
        size: Height and width that are wanted: those of the video.
        frame: Height and width in pixels at which the network saw it.
        stride: Pixels of that to a cell.
        first: Pixel of that on which cell 0 is centred.
        mode: `nearest`: every pixel has the value of the cell with the nearest centre.
    """
    rows = []
    for side, cells in ((frame[1], maps.shape[-1]), (frame[0], maps.shape[-2])):
        # sampling takes the map's own [-1, 1], in which its cells are pixels
        borders = frame_to_cells(torch.tensor([-1.0, 1.0]), side, stride) - first / stride
        ends = cells_to_frame(borders, cells, 1).tolist()
        rows.append(((ends[1] - ends[0]) / 2, (ends[1] + ends[0]) / 2))
    (x, left), (y, top) = rows
    theta = maps.new_tensor([[[x, 0, left], [0, y, top]]]).expand(len(maps), 2, 3)
    points = F.affine_grid(theta, [len(maps), 1, *size], align_corners=False)
    return F.grid_sample(maps, points, mode=mode, padding_mode="border", align_corners=False)


def shrink(maps: Tensor, grid: Sequence[int], frame: Sequence[int], stride: int, first: float = 0.0) -> Tensor:
    """What maps (B, C, H, W) of a frame have in each cell, on average: (B, C, *grid).

    Args:
        maps: At any size; together they show the whole frame.
        grid: h and w.
        frame: Height and width in pixels at which the network saw it.
        stride: Pixels of that to a cell, which reaches half of it to every side, as far as the frame does.
        first: Pixel of that on which cell 0 is centred.
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
    """What maps (B, C, H, W) of a frame have at the centre of each cell: (B, C, *grid). Arguments as in `shrink`."""
    ends = []
    for cells, side in zip(grid[::-1], frame[::-1], strict=True):
        ends.append(cells_to_frame(first / stride + torch.arange(cells, device=maps.device), side, stride))
    x, y = torch.meshgrid(*ends, indexing="xy")
    points = torch.stack([x, y], -1).to(maps)[None].expand(len(maps), -1, -1, -1)
    return F.grid_sample(maps, points, mode=mode, padding_mode="border", align_corners=False)


def _overlaps(like: Tensor, pixels: int, cells: int, size: float, stride: int, first: float) -> Tensor:
    """(cells, pixels): the share of a cell, along one side of a frame, that each pixel of length `size` covers."""
    start = size * torch.arange(pixels, device=like.device, dtype=like.dtype)
    centre = first + 0.5 + stride * torch.arange(cells, device=like.device, dtype=like.dtype)[:, None]
    covered = torch.minimum(centre + stride / 2, start + size) - torch.maximum(centre - stride / 2, start)
    covered = covered.clamp_min(0)
    return covered / covered.sum(1, keepdim=True)
