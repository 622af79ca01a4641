"""softmax(query . source) . value over the *source* axis: the one comparison behind MuG Eq. 6, 8, 9, 10 and 17.

Nothing here holds a matrix of all query against all source positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mug.chunked_attention import Attention, CoAttention
from mug.grid import warp_cells
from mug.precision import widen

CHUNK_ELEMENTS = 1 << 24
"""Affinities held at a time where they are worked off in chunks: 64 MiB in single precision."""

NARROW = 4
"""How many times wider than a query its value is, from which on padding costs more than fused kernels save."""

TILE = 12
"""Side, in cells, of the square of queries that `topk_attend` compares with one stretch of memory."""


def attend(query: Tensor, source: Tensor, value: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    """Reads `value` where `source` resembles `query` (MuG Eq. 9, 10), in memory linear in N and M.

    Differentiable once.

    Args:
        query: (B, N, C).
        source: (B, M, C).
        value: (B, M, D), what is carried from the source positions.
        temperature: Divides the inner products before the softmax over M.

    Returns:
        (B, N, D), of the type of `value`.
    """
    if not (isinstance(temperature, float) and temperature == 1.0):
        query = query / temperature
    query, source = query.to(value.dtype), source.to(value.dtype)
    if NARROW * query.shape[-1] > value.shape[-1]:
        return _fused(query, source, value)
    if _in_chunks(value):
        return Attention.apply(query, source, value)
    return checkpoint(_fused, query, source, value, use_reentrant=False)  # else autograd keeps what is padded


def _fused(query: Tensor, source: Tensor, value: Tensor) -> Tensor:
    width = max(query.shape[-1], value.shape[-1])  # the fused kernels want one width; zeros add nothing to a product
    q, k, v = (_widened(x, width).unsqueeze(1) for x in (query, source, value))
    return F.scaled_dot_product_attention(q, k, v, scale=1.0)[:, 0, :, : value.shape[-1]].to(value.dtype)


def co_attend(left: Tensor, right: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Each of two sides reads the other through one edge E = L W R^T (AGNN Eq. 5, 7), in memory linear in N and M.

    Differentiable once.

    Args:
        left: L (B, N, C).
        right: R (B, M, C).
        weight: W (C, C).

    Returns:
        softmax(E) R (B, N, C) and softmax(E^T) L (B, M, C), of the type of the sides.
    """
    if _in_chunks(left):
        return CoAttention.apply(left, right, weight)
    query = left @ weight
    x, y = left.to(query.dtype), right.to(query.dtype)  # what autocast narrows is narrowed once, and kept once
    return attend(query, y, y).to(left.dtype), attend(y, query, x).to(right.dtype)


def _in_chunks(value: Tensor) -> bool:
    """Whether to read by `mug.chunked_attention`, in full precision; in less, fused kernels have faster arithmetic."""
    return value.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled(value.device.type)


def _widened(x: Tensor, width: int) -> Tensor:
    """`x` itself where it has the width already: `F.pad` would copy it, and autograd keep the copy."""
    return x if x.shape[-1] == width else F.pad(x, (0, width - x.shape[-1]))


# --- matching within a window, for propagation -----------------------------------------------------------------------


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
    """Carries `values` from remembered frames to the query frame (MuG Eq. 17 over a memory).

    The k most similar of all positions in the windows of all frames are found first, jointly; the softmax runs over
    these. Only positions in or close around the window are computed, and only for one tile of queries at a time.

    Args:
        query: (C, h, w).
        memory: (T, C, h, w).
        values: (T, L, h, w), soft labels of the remembered frames.
        k: How many positions each query reads; None reads the whole window.
        radius: A query at (x, y) sees the cells with |dx| <= radius and |dy| <= radius; None sees all. One for every
            frame, or a list with one for each.
        temperature: Divides the inner products before the softmax.
        window: `circle` sees the cells with dx^2 + dy^2 <= radius^2 instead.
        renormalise: Whether the weights of the k sum to one; else the softmax runs over the whole window and the k
            keep the weights that it gives them.

    Returns:
        (L, h, w), of the type of `values`.

    Raises:
        ValueError: a list of radii of another length than the memory.
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
    """The remembered frames that share a radius."""

    radius: float | None
    circle: bool
    features_cthw: Tensor
    position_thw: Tensor
    """Where each cell lies among all cells of all frames of the memory."""


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
    """Inner products (Q, T, h', w') of a tile with the memory that any of its queries sees, -inf outside."""
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
    """What hides from a tile of queries what lies outside of their windows: 0 within, else -inf.

    Most tiles of all frames of a video share it, so that it is kept.

    Args:
        shape: Rows and columns of the tile, and of the memory that any of its queries sees.
        down: Rows by which the tile begins below that memory ...
        right: ... and columns.
        radius: Of the windows.
        circle: Whether they are discs.
        dtype: Of the result.
        device: Of the result.

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
    """The k largest (Q, k) of each query and their index in the flattened (T, h', w').

    The k largest lie in the k columns with the largest maxima, so only these few columns are searched.
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


# --- agreement of the affinity with a warp ---------------------------------------------------------------------------


def inlier_score(
    query: Tensor, source: Tensor, theta: Tensor, temperature: float | Tensor = 1.0, stride: int = 1
) -> Tensor:
    """How much of the affinity agrees with an affine warp, softly (MuG Eq. 8, one direction).

    Each query position reads its affinity at the four cells around the place to which the warp takes it. The bilinear
    weights are the soft form of the indicator "within one cell" and give the warp a gradient. A source cell hit by
    more than one query's worth of weight shares it out, and what leaves the frame reads nothing; so neither zooming in
    on a cell that all resemble nor zooming out of the frame can raise the score.

    Args:
        query: (B, C, h, w).
        source: (B, C, h, w); the affinity is a softmax over its positions.
        theta: (B, 2, 3), takes coordinates of the query's frame to those of the source's, both in [-1, 1],
            `align_corners=False`.
        temperature: Divides the inner products before the softmax.
        stride: Pixels of the frames to a cell (see `mug.grid`).

    Returns:
        (B,) in [0, 1].
    """
    with torch.autocast(query.device.type, enabled=False):
        size = query.shape[-2:]
        q, s = _positions(query) / temperature, _positions(source)
        points = warp_cells(theta.to(q.dtype), size, stride)
        normaliser = _log_normaliser(q, s)
        corner = points.detach().floor()
        readings, coverage = [], q.new_zeros(s.shape[:2])
        for step in _steps((0, 1), points):
            cell = corner + step
            index, inside = _index(cell, size)
            weight = (1 - (points - cell).abs()).prod(-1) * inside
            coverage = coverage.scatter_add(1, index, weight)
            readings.append((index, weight * _affinity_at(q, s, index, normaliser)))
        shared = [reading / coverage.gather(1, index).clamp(min=1) for index, reading in readings]
        return torch.stack(shared).sum(0).mean(1)


@torch.no_grad()
def inlier_share(
    query: Tensor, source: Tensor, theta: Tensor, temperature: float | Tensor = 1.0, stride: int = 1
) -> Tensor:
    """The share (B,) of the affinity that lies within one cell of where the warp points: MuG Eq. 8 with its hard iota.

    Arguments as in `inlier_score`; a measure, without gradient.
    """
    with torch.autocast(query.device.type, enabled=False):
        size = query.shape[-2:]
        q, s = _positions(query) / temperature, _positions(source)
        points = warp_cells(theta.to(q.dtype), size, stride)
        normaliser = _log_normaliser(q, s)
        total = torch.zeros_like(normaliser)
        for step in _steps((-1, 0, 1), points):
            cell = points.round() + step
            index, inside = _index(cell, size)
            near = (points - cell).norm(dim=-1) <= 1 + 1e-4  # a distance of one cell survives rounding errors
            total += _affinity_at(q, s, index, normaliser) * (inside & near)
        return total.mean(1)


def _positions(x_bchw: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h * w, C), widened."""
    return widen(x_bchw.flatten(2).transpose(1, 2))


def _log_normaliser(query_bnc: Tensor, source_bmc: Tensor) -> Tensor:
    """The log-sum-exp of the inner products over the source: (B, N); chunks are computed again for the gradient."""
    rows = max(1, CHUNK_ELEMENTS // source_bmc[..., 0].numel())
    chunks = query_bnc.split(rows, 1)
    parts = [checkpoint(_log_sum_exp, q, source_bmc, use_reentrant=False, preserve_rng_state=False) for q in chunks]
    return torch.cat(parts, 1)


def _log_sum_exp(query_bnc: Tensor, source_bmc: Tensor) -> Tensor:
    return (query_bnc @ source_bmc.transpose(1, 2)).logsumexp(2)


def _affinity_at(query_bnc: Tensor, source_bmc: Tensor, index_bn: Tensor, log_normaliser_bn: Tensor) -> Tensor:
    read = source_bmc.gather(1, index_bn.unsqueeze(-1).expand_as(query_bnc))
    return ((query_bnc * read).sum(-1) - log_normaliser_bn).exp()


def _steps(offsets: Sequence[int], like: Tensor) -> Iterator[Tensor]:
    for dy in offsets:
        for dx in offsets:
            yield like.new_tensor([dx, dy])


def _index(cell_bn2: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Row-major index of each cell, clamped into the grid, and whether it was inside."""
    height, width = size
    x, y = cell_bn2.unbind(-1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).long(), inside
