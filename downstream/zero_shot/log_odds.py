"""Log odds: how pieces of evidence for foreground are added up."""

from __future__ import annotations

import numpy as np

CERTAINTY = 0.01
"""Probabilities are held within [CERTAINTY, 1 - CERTAINTY] wherever their log odds are added."""


def log_odds(p: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)) with p held off 0 and 1."""
    held = np.clip(p, CERTAINTY, 1 - CERTAINTY)
    return np.log(held / (1 - held))


def probability(odds: np.ndarray) -> np.ndarray:
    """The inverse of `log_odds`."""
    out: np.ndarray = 1 / (1 + np.exp(-odds))
    return out


def levelled(odds_thw: np.ndarray, share: float) -> np.ndarray:
    """Log odds moved so that `share` of the video is foreground.

    A fit to noisy evidence is unsure everywhere, and of a small object surest that it is not there: what it knows is
    which pixel is likelier than which. How much foreground there is the evidence knows better.
    """
    if not 0 < share < 1:
        return odds_thw
    odds: np.ndarray = odds_thw - np.quantile(odds_thw[:, ::2, ::2], 1 - share).astype(np.float32)
    return odds
