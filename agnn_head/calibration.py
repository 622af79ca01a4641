"""Turns the maps of a head trained with Eq. 12 of AGNN into probabilities.

The loss gives fore- and background of each frame equal weight, whatever their areas. The network therefore predicts how
likely a cell would be foreground if half of its frame were. Its foreground odds are too high by one factor, which
follows from the foreground shares of the training frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from torch import nn

from agnn_head.loss import SMALLEST_SHARE


class Segmenting(Protocol):
    """A network that ends in logits of foreground."""

    @property
    def output(self) -> nn.Conv2d:
        """The last layer."""


def raised_odds(shares: Sequence[float]) -> float:
    """The factor by which foreground odds trained with Eq. 12 exceed the true ones.

    For a cell that is foreground with probability q, independently of its frame, the loss is lowest at the odds
    q / (1 - q) E[1 - eta | foreground] / E[eta | background]. Over frames with the shares eta the factor is
    mean(1 - eta) / mean(eta) unless an eta is clipped (see `agnn_head.loss.SMALLEST_SHARE`).

    Args:
        shares: eta of each frame, the foreground share of its labelled cells.

    >>> round(raised_odds([0.1, 0.3]), 6)
    4.0
    """
    eta = np.asarray(shares, np.float64)
    there = eta.clip(1e-6, 1 - 1e-6)  # avoids division by zero where all frames are empty or full
    weight = eta.clip(SMALLEST_SHARE, 1 - SMALLEST_SHARE)
    of_foreground = (there * (1 - weight)).sum() / there.sum()
    of_background = ((1 - there) * weight).sum() / (1 - there).sum()
    return float(of_foreground / of_background)


def to_probabilities(network: Segmenting, shares: Sequence[float]) -> None:
    """Shifts the bias of the last layer so that the sigmoid of its logits is a probability.

    Args:
        network: Trained with `weighted_bce` on frames with these shares.
        shares: See `raised_odds`.
    """
    bias = network.output.bias
    assert bias is not None
    bias.data -= math.log(raised_odds(shares))
