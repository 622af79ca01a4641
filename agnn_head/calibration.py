"""Making the maps of a head that learned from Eq. 12 of AGNN probabilities.

The loss weighs the fore- and background of each frame alike, whatever their areas. What it teaches is therefore how
likely a cell would be foreground if half of its frame were: the odds are too high by one factor, which follows from the
shares that objects have of the frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from agnn_head.loss import SMALLEST_SHARE
from agnn_head.model import AGNN


def raised_odds(shares: Sequence[float]) -> float:
    """By what factor the odds of foreground that Eq. 12 teaches exceed the true ones.

    A cell of which no more is seen than that it is foreground with probability q, in whatever frame, has the least
    loss at the odds q / (1 - q) E[1 - eta | foreground] / E[eta | background]. Over frames with the shares eta this
    factor is mean(1 - eta) / mean(eta) as long as no eta is limited (see `agnn_head.loss.SMALLEST_SHARE`).

    Args:
        shares: eta of each frame, the share of its known cells that is foreground.

    >>> round(raised_odds([0.1, 0.3]), 6)
    4.0
    """
    eta = np.asarray(shares, np.float64)
    there = eta.clip(1e-6, 1 - 1e-6)  # where every frame is empty, or full, means would be of nothing
    weight = eta.clip(SMALLEST_SHARE, 1 - SMALLEST_SHARE)
    of_foreground = (there * (1 - weight)).sum() / there.sum()
    of_background = ((1 - there) * weight).sum() / (1 - there).sum()
    return float(of_foreground / of_background)


def to_probabilities(network: AGNN, shares: Sequence[float]) -> None:
    """Moves the bias of the last layer, so that the sigmoid of its logits is a probability.

    Args:
        network: Trained on frames with these shares by `weighted_bce`.
        shares: As of `raised_odds`.
    """
    bias = network.output.bias
    assert bias is not None
    bias.data -= math.log(raised_odds(shares))
