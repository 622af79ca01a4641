"""Softmax attention in chunks of queries, in full precision, for cases that fused kernels handle badly.

Fused kernels need query and value of equal width and attend in one direction. If the widths differ much they multiply
mostly zeros; if both sides attend through the same edge they compute it twice. For each pair of positions, forward and
backward together, they take seven products of the larger width. Here one direction takes four of the query's width and
three of the value's, and both directions together ten instead of fourteen.

Only one chunk of the edge exists at a time; the backward pass recomputes it. Chunks are stored transposed, one column
per query: matrix products are fastest if the result has more rows than columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_ELEMENTS = 5 << 18
"""Elements of a chunk of the edge and of its scratch matrices together: 5 MiB in single precision."""

ALIGNED = 32
"""The number of queries per chunk is a multiple of this; other numbers slow matrix products down."""


class Attention(torch.autograd.Function):
    """softmax(Q S^T) V.

    Args:
        query: Q (B, N, C).
        source: S (B, M, C).
        value: V (B, M, D).

    Returns:
        (B, N, D).
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, source: Tensor, value: Tensor) -> Tensor:  # noqa: D102
        out = value.new_empty(*query.shape[:2], value.shape[2])
        log_sum = query.new_empty(len(query), 1, query.shape[1])
        for q, s, v, o, z in zip(query, source, value, out, log_sum, strict=True):
            for chunk, edge in _chunks(q, s, 1):
                torch.mm(s, _columns(q[chunk]), out=edge)
                _read(edge, v, edge, o[chunk], z[:, chunk])
        ctx.save_for_backward(query, source, value, out, log_sum)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:  # noqa: D102
        query, source, value, out, log_sum = ctx.saved_tensors
        d_query = query.new_empty(query.shape)
        d_source, d_value = source.new_zeros(source.shape), value.new_zeros(value.shape)
        inner = (grad * out).sum(2).unsqueeze(1)
        of_each = zip(query, source, value, log_sum, grad, inner, d_query, d_source, d_value, strict=True)
        for q, s, v, z, g, n, dq, ds, dv in of_each:
            for chunk, share, d_edge in _chunks(q, s, 2):
                torch.mm(s, _columns(q[chunk]), out=share).sub_(z[:, chunk]).exp_()
                dv.addmm_(share, g[chunk])
                torch.mm(v, _columns(g[chunk]), out=d_edge).sub_(n[:, chunk]).mul_(share)
                torch.mm(d_edge.T, s, out=dq[chunk])
                ds.addmm_(d_edge, q[chunk])
        return d_query, d_source, d_value


class CoAttention(torch.autograd.Function):
    """softmax(E) R and softmax(E^T) L for the edge E = L W R^T, computed once for both.

    Args:
        left: L (B, N, C).
        right: R (B, M, C).
        weight: W (C, C).

    Returns:
        (B, N, C) to the left and (B, M, C) to the right.
    """

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        to_left, to_right = left.new_empty(left.shape), right.new_zeros(right.shape)
        left_sum, right_sum = left.new_empty(len(left), 1, left.shape[1]), right.new_empty(*right.shape[:2], 1)
        for x, y, to_x, to_y, zx, zy in zip(left, right, to_left, to_right, left_sum, right_sum, strict=True):
            top, total = torch.full_like(zy, -torch.inf), torch.zeros_like(zy)
            for chunk, edge, scratch in _chunks(x, y, 2):
                torch.mm(y, weight.T @ x[chunk].T, out=edge)
                _read(edge, y, scratch, to_x[chunk], zx[:, chunk])
                # rows are complete only after the last chunk: partial sums are rescaled when the maximum grows
                higher = torch.maximum(top, edge.amax(1, keepdim=True))
                shrink = top.sub_(higher).exp_()
                edge.sub_(higher).exp_()
                total.mul_(shrink).add_(edge.sum(1, keepdim=True))
                to_y.mul_(shrink).addmm_(edge, x[chunk])
                top = higher
            to_y.div_(total)
            torch.add(top, total.log_(), out=zy)
        ctx.save_for_backward(left, right, weight, to_left, to_right, left_sum, right_sum)
        return to_left, to_right

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_left_grad: Tensor, to_right_grad: Tensor) -> tuple[Tensor, ...]:  # noqa: D102
        left, right, weight, to_left, to_right, left_sum, right_sum = ctx.saved_tensors
        d_left, d_right = left.new_empty(left.shape), right.new_zeros(right.shape)
        d_weight = torch.zeros_like(weight)
        left_inner = (to_left_grad * to_left).sum(2).unsqueeze(1)
        right_inner = (to_right_grad * to_right).sum(2, keepdim=True)
        of_left = (left, left_sum, to_left_grad, left_inner, d_left)
        of_right = (right, right_sum, to_right_grad, right_inner, d_right)
        for x, zx, gx, nx, dx, y, zy, gy, ny, dy in zip(*of_left, *of_right, strict=True):
            for chunk, edge, d_edge, scratch in _chunks(x, y, 3):
                query = weight.T @ x[chunk].T
                torch.mm(y, query, out=edge)
                share = torch.sub(edge, zx[:, chunk], out=scratch).exp_()
                dy.addmm_(share, gx[chunk])
                torch.mm(y, _columns(gx[chunk]), out=d_edge).sub_(nx[:, chunk]).mul_(share)
                share = edge.sub_(zy).exp_()
                torch.mm(share.T, gy, out=dx[chunk])
                d_edge.add_(torch.mm(gy, _columns(x[chunk]), out=scratch).sub_(ny).mul_(share))
                dy.addmm_(d_edge, query.T)
                d_query = d_edge.T @ y
                dx[chunk].addmm_(d_query, weight.T)
                d_weight.addmm_(x[chunk].T, d_query)
        return d_left, d_right, d_weight


def _chunks(query_nc: Tensor, source_mc: Tensor, matrices: int) -> Iterator[tuple[Any, ...]]:
    """Yields each chunk's slice of queries and `matrices` buffers (M, chunk); all chunks share the same memory."""
    count, rows = len(query_nc), len(source_mc)
    step = min(max(CHUNK_ELEMENTS // (matrices * rows) // ALIGNED * ALIGNED, ALIGNED), count)
    memory = query_nc.new_empty(matrices, rows * step)
    for start in range(0, count, step):
        chunk = slice(start, min(start + step, count))
        columns = chunk.stop - start
        yield chunk, *memory[:, : rows * columns].unflatten(1, (rows, columns))


def _columns(chunk_rc: Tensor) -> Tensor:
    return chunk_rc.T.contiguous()


def _read(edge_mr: Tensor, value_md: Tensor, scratch_mr: Tensor, out_rd: Tensor, log_sum_1r: Tensor) -> None:
    """Writes each column's softmax times value to `out` and its log-sum-exp; `scratch` may be the edge itself."""
    top = edge_mr.amax(0, keepdim=True)
    total = torch.sub(edge_mr, top, out=scratch_mr).exp_().sum(0, keepdim=True)
    torch.mm(scratch_mr.T, value_md, out=out_rd).div_(total.T)
    torch.add(top, total.log_(), out=log_sum_1r)
