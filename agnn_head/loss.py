"""The loss of a predicted foreground (AGNN Eq. 12)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from mug.precision import widen
from mug.run.processes import share_of_mean

SMALLEST_SHARE = 0.01
"""What eta is kept away from 0 and 1 by. Exactly there, Eq. 12 is 0 whatever is predicted, and a frame without object,
or full of it, would teach nothing; so it counts as the background of a frame of which the object takes 1 % does."""


def weighted_bce(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy in which fore- and background of a frame weigh the same, whatever their areas (AGNN Eq. 12).

    -(1 - eta) S log S^ - eta (1 - S) log(1 - S^), with eta = foreground / (foreground + background) of each frame, at
    least 0.01 and at most 0.99; the mean over all labelled cells of all processes, where the paper sums.

    Args:
        logits: (..., 1, h, w), before the sigmoid.
        target: S, (..., h, w) in [0, 1], soft or hard, NaN where a cell has no label (void).

    Returns:
        This process's share (see `share_of_mean`); 0 if nothing is labelled anywhere.

    Raises:
        ValueError: shapes that do not belong together.
    """
    logits = widen(logits.squeeze(-3))
    if logits.shape != target.shape:  # or they would be broadcast
        raise ValueError(f"logits {tuple(logits.shape)} and target {tuple(target.shape)} differ in shape")
    labelled = ~target.isnan()
    target = torch.where(labelled, target, 0).to(logits.dtype)
    count = labelled.sum((-2, -1), keepdim=True)
    eta = (target.sum((-2, -1), keepdim=True) / count.clamp(min=1)).clamp(SMALLEST_SHARE, 1 - SMALLEST_SHARE)
    loss = -(1 - eta) * target * logsigmoid(logits) - eta * (1 - target) * logsigmoid(-logits)
    return share_of_mean((loss * labelled).sum(), count.sum())
