"""Loss of HCPN (Eq. 6) and its contours."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from agnn_head.loss import weighted_bce
from mug.granularity.frame import frame_loss


class Terms(NamedTuple):
    """The two terms of Eq. 6."""

    mask: Tensor
    contour: Tensor


def mask_and_contour_loss(masks_n1hw: Tensor, contours_njhw: Tensor | None, target_nhw: Tensor) -> Terms:
    """L_CE(G^m, P^m) and L_CE(G^r, P^r) (HCPN Eq. 6).

    The mask's is the mean cross-entropy over labelled cells. The contours' is class-balanced as in HED (Xie and Tu
    2015), because contours cover few cells, and averaged over the J contours.

    Args:
        masks_n1hw: Logits (N, 1, h, w).
        contours_njhw: Logits (N, J, h, w); None for no contours, whose loss is 0.
        target_nhw: G^m (N, h, w) in [0, 1], NaN where a cell has no label.

    Returns:
        This process's shares (see `mug.run.processes.share_of_mean`).
    """
    mask = frame_loss(masks_n1hw, target_nhw)
    if contours_njhw is None:
        return Terms(mask, mask.new_zeros(()))
    contour_nhw = contours_of(target_nhw)
    of_each = [weighted_bce(logits, contour_nhw) for logits in contours_njhw.split(1, 1)]
    return Terms(mask, torch.stack(of_each).mean())


def contours_of(target_nhw: Tensor) -> Tensor:
    """G^r (N, h, w): 1 at cells that have both fore- and background among the nine around them, else 0.

    NaN where one of these has no label.
    """
    unknown = F.max_pool2d(target_nhw.isnan().float()[:, None], 3, 1, 1)[:, 0] > 0
    there = (target_nhw > 0.5).to(target_nhw.dtype)[:, None]  # false where NaN
    span = F.max_pool2d(there, 3, 1, 1) + F.max_pool2d(-there, 3, 1, 1)
    return torch.where(unknown, torch.nan, span[:, 0])
