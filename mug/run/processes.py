"""Sums, means and batches over all training processes, with gradients; no-ops in a single process."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_reduce


def world_size() -> int:
    """Number of training processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather(x: Tensor) -> Tensor:
    """Concatenates the (B, ...) of all processes to (B * processes, ...), in the order of their ranks.

    Gradients flow back to the process of each row. B must be the same in every process.
    """
    if world_size() == 1:
        return x
    # a sum over zero-filled buffers works on every backend, which the differentiable all_gather does not
    before = x.new_zeros(first_row(x), *x.shape[1:])
    after = x.new_zeros((world_size() - 1) * len(x) - len(before), *x.shape[1:])
    return all_reduce(torch.cat([before, x, after]))


def first_row(x: Tensor) -> int:
    """The first row of `gather(x)` that belongs to this process."""
    return dist.get_rank() * len(x) if world_size() > 1 else 0


def share_of_mean(total: Tensor, count: Tensor) -> Tensor:
    """This process's share of sum(total) / sum(count) over all processes; 0 if all counts are 0.

    The *average* of the shares over the processes is the overall mean, as distributed training averages gradients over
    processes. Counts may differ between processes.
    """
    count = count.detach().to(total.dtype)
    if world_size() > 1:
        count = count.clone()
        dist.all_reduce(count)
    return total * world_size() / count.clamp(min=1)


@torch.no_grad()
def mean_over_processes(x: Tensor) -> Tensor:
    """The mean of a tensor over all processes, without gradient."""
    if world_size() == 1:
        return x
    total = x.clone()
    dist.all_reduce(total)
    return total / world_size()
