"""Log odds, in which evidence for foreground is added."""

from __future__ import annotations

import numpy as np

CERTAINTY = 0.01
"""Probabilities are clipped to [CERTAINTY, 1 - CERTAINTY] before their log odds are added."""


def log_odds(p: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)) with p clipped away from 0 and 1."""
    held = np.clip(p, CERTAINTY, 1 - CERTAINTY)
    return np.log(held / (1 - held))


def probability(odds: np.ndarray) -> np.ndarray:
    """The inverse of `log_odds`."""
    out: np.ndarray = 1 / (1 + np.exp(-odds))
    return out


def levelled(odds_thw: np.ndarray, share: float) -> np.ndarray:
    """Log odds shifted so that `share` of the video is foreground.

    A fit to noisy evidence is uncertain everywhere and biased against small objects, but it ranks pixels well. The
    evidence is the better estimate of the amount of foreground.
    """
    if not 0 < share < 1:
        return odds_thw
    odds: np.ndarray = odds_thw - np.quantile(odds_thw[:, ::2, ::2], 1 - share).astype(np.float32)
    return odds
