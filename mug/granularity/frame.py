"""Frame granularity: fore- and background of a single frame (MuG Eq. 2, 15)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mug.backbone import TRUNK_CHANNELS
from mug.precision import widen
from mug.run.processes import share_of_mean


class FrameHead(nn.Module):
    """rho: a 1x1 convolution from phi's trunk to foreground logits; their sigmoid is P_t."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(TRUNK_CHANNELS, 1, 1)

    def forward(self, trunk_bchw: Tensor) -> Tensor:
        """(B, 512, h, w) -> logits (B, 1, h, w)."""
        return self.conv(trunk_bchw)


def frame_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy with a soft target, averaged over all labelled cells of all processes (MuG Eq. 2, 15).

    Eq. 15 prints a sum over the lattice. A mean, as usual for a cross-entropy, is used instead: a sum would be
    thousands of times larger than the video term of Eq. 14, which has no lattice.

    Args:
        logits: (B, 1, h, w), before the sigmoid.
        target: (B, h, w) in [0, 1], NaN where a cell has no label.

    Returns:
        This process's share (see `share_of_mean`); 0 if nothing is labelled anywhere.
    """
    labelled = ~target.isnan()
    logits = widen(logits.squeeze(1))
    target = torch.where(labelled, target, 0).to(logits.dtype)
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return share_of_mean((loss * labelled).sum(), labelled.sum())


def bootstrap_weights(alpha: float, keep: Literal["prediction", "label"]) -> tuple[float, float]:
    """The weights of Q and of P-bar in the target of the next round (MuG Eq. 15).

    With a = alpha, Eq. 15 is the sum over the lattice of

        [a Q + (1 - a) P-bar] log P + [a (1 - Q) + (1 - a) (1 - P-bar)] log(1 - P),

    which is, up to its sign, the cross-entropy of `frame_loss` with the target a Q + (1 - a) P-bar. Q is the initial
    map of the frame, P-bar the prediction of the previous round's model.

    Args:
        alpha: Weight of the map that is not kept.
        keep: Map with the weight 1 - alpha: the prediction, as the equation is printed, or the label Q.

    >>> bootstrap_weights(0.05, "prediction")
    (0.05, 0.95)
    """
    return (alpha, 1 - alpha) if keep == "prediction" else (1 - alpha, alpha)
