"""Matching within windows of the frames in memory, for propagation (MuG Eq. 17).

Only positions inside the window are compared, a tile of queries at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from mug.affinity.attention import attend

TILE = 12
"""Side, in cells, of the square tile of queries that `topk_attend` processes at once."""


def topk_attend(
    query: Tensor,
    memory: Tensor,
    values: Tensor,
    k: int | None,
    radius: float | Sequence[float | None] | None,
    temperature: float,
    window: Literal["square", "circle"] = "square",
    renormalise: bool = True,
) -> Tensor:
    """Propagates `values` from the frames in memory to the query frame (MuG Eq. 17 over a memory).

    The k most similar positions are selected jointly from the windows of all frames; the softmax runs over these. Only
    positions in or close to the window are compared, one tile of queries at a time.

    Args:
        query: (C, h, w).
        memory: (T, C, h, w).
        values: (T, L, h, w), soft labels of the frames in memory.
        k: Number of positions each query reads; None for the whole window.
        radius: A query at (x, y) sees the cells with |dx| <= radius and |dy| <= radius; None sees all. One value for
            all frames, or a list with one per frame.
        temperature: Divides the inner products before the softmax.
        window: `circle` sees the cells with dx^2 + dy^2 <= radius^2 instead.
        renormalise: Whether the weights of the k positions sum to one; else they keep the weights of the softmax over
            the whole window.

    Returns:
        (L, h, w), in the dtype of `values`.

    Raises:
        ValueError: the number of radii is not that of the frames in memory.
    """
    frames, _, height, width = memory.shape
    radii = list(radius) if isinstance(radius, Sequence) else [radius] * frames
    if len(radii) != frames:
        raise ValueError(f"{len(radii)} radii for {frames} frames of memory")
    if k is None and all(r is None for r in radii):
        q, s, v = (x.movedim(1, -1).reshape(1, -1, x.shape[1]) for x in (query[None], memory, values))
        return attend(q, s, v, temperature)[0].T.reshape(-1, height, width)
    query_hwc = query.movedim(0, -1) / temperature
    values_ml = values.movedim(1, -1).flatten(0, 2)
    stretches = _by_radius(memory, radii, window == "circle")
    rows = []
    for y in range(0, height, TILE):
        band = query_hwc[y : y + TILE]
        corners = range(0, width, TILE)
        tiles = [_read_tile(band[:, x : x + TILE], y, x, stretches, values_ml, k, renormalise) for x in corners]
        rows.append(torch.cat(tiles, 1))
    return torch.cat(rows).movedim(-1, 0)


@dataclass
class _Stretch:
    """The frames in memory that share a radius."""

    radius: float | None
    circle: bool
    features_cthw: Tensor
    position_thw: Tensor
    """Index of each cell among all cells of all frames in memory."""


def _by_radius(memory_tchw: Tensor, radii: list[float | None], circle: bool) -> list[_Stretch]:
    frames, _, height, width = memory_tchw.shape
    position = torch.arange(frames * height * width, device=memory_tchw.device).view(frames, height, width)
    stretches = []
    for radius in dict.fromkeys(radii):
        chosen = [t for t, r in enumerate(radii) if r == radius]
        stretches.append(_Stretch(radius, circle, memory_tchw[chosen].movedim(1, 0).contiguous(), position[chosen]))
    return stretches


def _read_tile(
    tile_hwc: Tensor,
    y: int,
    x: int,
    stretches: list[_Stretch],
    values_ml: Tensor,
    k: int | None,
    renormalise: bool,
) -> Tensor:
    logits, positions, totals = [], [], []
    for stretch in stretches:
        logits_qthw, position_thw = _window_logits(tile_hwc, y, x, stretch)
        if k is None:
            best, index = logits_qthw.flatten(1), None
        else:
            best, index = _top(logits_qthw, k)
            if not renormalise:
                totals.append(logits_qthw.flatten(1).logsumexp(1))
        logits.append(best)
        positions.append(position_thw.flatten()[index] if index is not None else position_thw.flatten())
    if k is None:
        out = torch.cat(logits, 1).softmax(1).to(values_ml.dtype) @ values_ml[torch.cat(positions)]
    else:
        best = torch.cat(logits, 1)
        best, index = best.topk(min(k, best.shape[1]))
        chosen = torch.cat(positions, 1).gather(1, index)
        weight = best.softmax(1) if renormalise else (best - torch.stack(totals, 1).logsumexp(1, keepdim=True)).exp()
        out = torch.einsum("qk,qkl->ql", weight.to(values_ml.dtype), values_ml[chosen])
    return out.view(*tile_hwc.shape[:2], -1)


def _window_logits(tile_hwc: Tensor, y: int, x: int, stretch: _Stretch) -> tuple[Tensor, Tensor]:
    """Inner products (Q, T, h', w') of a tile with the cells that any of its queries sees; -inf outside the window."""
    rows, columns, channels = tile_hwc.shape
    features, position = stretch.features_cthw, stretch.position_thw
    if stretch.radius is None:
        return (tile_hwc.flatten(0, 1) @ features.flatten(1)).view(-1, *position.shape), position
    reach = int(stretch.radius)
    top, left = max(y - reach, 0), max(x - reach, 0)
    seen = (..., slice(top, y + rows + reach), slice(left, x + columns + reach))
    features, position = features[seen], position[seen]
    logits = (tile_hwc.flatten(0, 1) @ features.reshape(channels, -1)).view(rows * columns, *position.shape)
    shape = (rows, columns, position.shape[1], position.shape[2])
    outside = _outside(shape, y - top, x - left, stretch.radius, stretch.circle, logits.dtype, logits.device)
    return logits.add_(outside), position


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _outside(
    shape: tuple[int, int, int, int],
    down: int,
    right: int,
    radius: float,
    circle: bool,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Additive mask of the windows of a tile of queries: 0 inside, -inf outside.

    Most tiles of all frames of a video share it, so it is cached.

    Args:
        shape: Rows and columns of the tile, and of the region of memory that any of its queries sees.
        down: Offset in rows of the tile from the top of that region ...
        right: ... and in columns from its left.
        radius: Radius of the windows.
        circle: Whether the windows are discs.
        dtype: Type of the result.
        device: Device of the result.

    Returns:
        (rows * columns, 1, h', w').
    """
    rows, columns, height, width = shape
    away_y = (torch.arange(rows)[:, None] + down - torch.arange(height)).abs()[:, None, :, None]
    away_x = (torch.arange(columns)[:, None] + right - torch.arange(width)).abs()[None, :, None, :]
    far = away_y**2 + away_x**2 > radius**2 if circle else (away_y > radius) | (away_x > radius)
    outside = torch.zeros(far.shape, dtype=dtype).masked_fill_(far, -torch.inf)
    return outside.view(rows * columns, 1, height, width).to(device)


def _top(logits_qthw: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest logits (Q, k) of each query and their indices in the flattened (T, h', w').

    They are in the k columns with the largest maxima, so only these few columns are searched.
    """
    _, frames, height, width = logits_qthw.shape
    flat = logits_qthw.flatten(1)
    if frames * width <= k:
        return flat.topk(min(k, flat.shape[1]))
    column = logits_qthw.detach().amax(2).flatten(1).topk(k, sorted=False).indices
    start = column.div(width, rounding_mode="floor") * (height * width) + column % width
    index = (start[:, :, None] + torch.arange(height, device=start.device) * width).flatten(1)
    best, among = flat.gather(1, index).topk(k)
    return best, index.gather(1, among)
