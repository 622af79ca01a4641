"""Agreement of an affinity with an affine warp (MuG Eq. 8), without storing the full affinity matrix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mug.grid import warp_cells
from mug.precision import widen

CHUNK_ELEMENTS = 1 << 24
"""Affinities per chunk: 64 MiB in single precision."""


def inlier_score(
    query: Tensor, source: Tensor, theta: Tensor, temperature: float | Tensor = 1.0, stride: int = 1
) -> Tensor:
    """Soft inlier score: the part of the affinity that agrees with an affine warp (MuG Eq. 8, one direction).

    Each query position reads its affinity at the four cells around its warped position. The bilinear weights are the
    soft form of the indicator "within one cell" and give the warp a gradient. If the weights on a source cell add up to
    more than one, the queries share it, and positions outside the frame score nothing. So the score cannot be raised
    by zooming in on a cell that all queries resemble, nor by zooming out of the frame.

    Args:
        query: (B, C, h, w).
        source: (B, C, h, w); the affinity is a softmax over its positions.
        theta: (B, 2, 3), maps coordinates of the query's frame to those of the source's, both in [-1, 1],
            `align_corners=False`.
        temperature: Divides the inner products before the softmax.
        stride: Pixels of the frames per cell (see `mug.grid`).

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
    """The share (B,) of the affinity within one cell of the warped position: MuG Eq. 8 with its hard iota.

    Arguments as in `inlier_score`; for logging, without gradient.
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
            near = (points - cell).norm(dim=-1) <= 1 + 1e-4  # with a tolerance for rounding errors
            total += _affinity_at(q, s, index, normaliser) * (inside & near)
        return total.mean(1)


def _positions(x_bchw: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h * w, C), widened."""
    return widen(x_bchw.flatten(2).transpose(1, 2))


def _log_normaliser(query_bnc: Tensor, source_bmc: Tensor) -> Tensor:
    """The log-sum-exp (B, N) of the inner products over the source; the backward pass recomputes the chunks."""
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
    """Row-major index of each cell, clamped to the grid, and whether the cell is inside."""
    height, width = size
    x, y = cell_bn2.unbind(-1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).long(), inside
