"""Batch normalisation over the batches of all processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from mug.precision import widen


class BatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose training statistics span all processes, on any device.

    torch's own `SyncBatchNorm` runs on GPUs only, but two CPU processes must give the same losses as one. In a single
    process, and in evaluation, this *is* `nn.BatchNorm2d`; its state dict loads into torchvision's networks.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        if not (self.training and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(input)
        return self._normalise_across_processes(input)

    def _normalise_across_processes(self, x_bchw: Tensor) -> Tensor:
        """(B,C,H,W) -> (B,C,H,W) in two passes and at least float32, as E[x^2] - E[x]^2 would lose precision."""
        x = widen(x_bchw)
        count = all_reduce(x.new_tensor([x.numel() / x.shape[1]]))
        mean = all_reduce(x.sum((0, 2, 3))) / count
        variance = all_reduce((x - mean[:, None, None]).square().sum((0, 2, 3))) / count
        if self.track_running_stats:
            self._track(mean, variance * count / (count - 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        out = (x - mean[:, None, None]) * scale[:, None, None] + self.bias[:, None, None]
        return out.to(x_bchw.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        momentum = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)


@contextmanager
def running_statistics_kept(module: nn.Module) -> Iterator[None]:
    """Within the context, batch norms in training mode use batch statistics but do not update running estimates."""
    norms = [m for m in module.modules() if isinstance(m, BatchNorm)]
    before = [m.track_running_stats for m in norms]
    try:
        for norm in norms:
            norm.track_running_stats = False
        yield
    finally:
        for norm, tracked in zip(norms, before, strict=True):
            norm.track_running_stats = tracked
