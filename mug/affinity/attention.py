"""softmax(query . source) . value over the *source* axis: the one comparison behind MuG Eq. 6, 8, 9, 10 and 17.

Nothing here stores the full matrix of query by source positions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mug.affinity.chunked import Attention, CoAttention

NARROW = 4
"""Value-to-query width ratio above which padding costs more than the fused kernel saves."""


def attend(query: Tensor, source: Tensor, value: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    """Reads `value` where `source` is similar to `query` (MuG Eq. 9, 10), in memory linear in N and M.

    Differentiable once.

    Args:
        query: (B, N, C).
        source: (B, M, C).
        value: (B, M, D), one per source position.
        temperature: Divides the inner products before the softmax over M.

    Returns:
        (B, N, D), in the dtype of `value`.
    """
    if not (isinstance(temperature, float) and temperature == 1.0):
        query = query / temperature
    query, source = query.to(value.dtype), source.to(value.dtype)
    if NARROW * query.shape[-1] > value.shape[-1] or torch.compiler.is_exporting():
        return _fused(query, source, value)
    if _in_chunks(value):
        return Attention.apply(query, source, value)
    return checkpoint(_fused, query, source, value, use_reentrant=False)  # keeps no padded copies


def _fused(query: Tensor, source: Tensor, value: Tensor) -> Tensor:
    width = max(query.shape[-1], value.shape[-1])  # fused kernels need equal widths; zeros do not change the products
    q, k, v = (_widened(x, width).unsqueeze(1) for x in (query, source, value))
    return F.scaled_dot_product_attention(q, k, v, scale=1.0)[:, 0, :, : value.shape[-1]].to(value.dtype)


def co_attend(left: Tensor, right: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Attention of two sides to each other through one edge E = L W R^T (AGNN Eq. 5, 7), memory linear in N and M.

    Differentiable once.

    Args:
        left: L (B, N, C).
        right: R (B, M, C).
        weight: W (C, C).

    Returns:
        softmax(E) R (B, N, C) and softmax(E^T) L (B, M, C), in the dtype of the sides.
    """
    if _in_chunks(left):
        return CoAttention.apply(left, right, weight)
    query = left @ weight
    x, y = left.to(query.dtype), right.to(query.dtype)  # autocast then converts, and autograd stores, each side once
    return attend(query, y, y).to(left.dtype), attend(y, query, x).to(right.dtype)


def _in_chunks(value: Tensor) -> bool:
    """Whether to use `mug.affinity.chunked`: in full precision only, as fused kernels are faster in half.

    An exported program cannot contain it, nor a loop over a batch of any size.
    """
    full = value.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled(value.device.type)
    return full and not torch.compiler.is_exporting()


def _widened(x: Tensor, width: int) -> Tensor:
    """Pads `x` to `width`, or returns it if it has that width: `F.pad` would copy it and autograd keep the copy."""
    return x if x.shape[-1] == width else F.pad(x, (0, width - x.shape[-1]))
