"""Foreground loss (AGNN Eq. 12)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from mug.precision import widen
from mug.run.processes import share_of_mean

SMALLEST_SHARE = 0.01
"""eta is clipped to [SMALLEST_SHARE, 1 - SMALLEST_SHARE]. At 0 or 1, Eq. 12 is 0 whatever the prediction, and a frame
without an object, or full of it, would teach nothing. Clipped, it weighs as much as the background of a frame whose
object covers 1 %."""


def weighted_bce(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy in which fore- and background of a frame have equal weight, whatever their areas (AGNN Eq. 12).

    -(1 - eta) S log S^ - eta (1 - S) log(1 - S^), with eta = foreground / (foreground + background) of each frame,
    clipped to [0.01, 0.99]; a mean over all labelled cells of all processes, where the paper sums.

    Args:
        logits: (..., 1, h, w), before the sigmoid.
        target: S, (..., h, w) in [0, 1], soft or hard, NaN where a cell has no label (void).

    Returns:
        This process's share (see `share_of_mean`); 0 if nothing is labelled anywhere.

    Raises:
        ValueError: the shapes do not match.
    """
    logits = widen(logits.squeeze(-3))
    if logits.shape != target.shape:  # else they would broadcast
        raise ValueError(f"logits {tuple(logits.shape)} and target {tuple(target.shape)} differ in shape")
    labelled = ~target.isnan()
    target = torch.where(labelled, target, 0).to(logits.dtype)
    count = labelled.sum((-2, -1), keepdim=True)
    eta = (target.sum((-2, -1), keepdim=True) / count.clamp(min=1)).clamp(SMALLEST_SHARE, 1 - SMALLEST_SHARE)
    loss = -(1 - eta) * target * logsigmoid(logits) - eta * (1 - target) * logsigmoid(-logits)
    return share_of_mean((loss * labelled).sum(), count.sum())
