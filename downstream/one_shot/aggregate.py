"""Several objects that were segmented one by one, as one distribution (RGMP, CVPR 2018)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from mug.precision import widen

LIMIT = 15.0
"""Log odds are clipped to [-LIMIT, LIMIT]: probabilities to [3e-7, 1 - 3e-7]."""


def aggregate(logits_mhw: Tensor) -> Tensor:
    """Softmax aggregation: odds of each label, divided by their sum.

    p^_i = (p_i / (1 - p_i)) / sum_j (p_j / (1 - p_j)), where label 0, the background, has p_0 = prod_i (1 - p_i). A
    single object keeps its own probability.

    Args:
        logits_mhw: (M, ...) log odds of M >= 1 objects, each against everything else.

    Returns:
        (1 + M, ...), at least single precision: background and objects, which sum to 1.
    """
    logits = widen(logits_mhw).clamp(-LIMIT, LIMIT)
    if len(logits) == 1:
        return torch.cat([-logits, logits]).sigmoid()
    nothing = logsigmoid(-logits).sum(0, keepdim=True)  # log p_0
    background = nothing - torch.log(-torch.expm1(nothing))
    return torch.cat([background, logits]).softmax(0)
