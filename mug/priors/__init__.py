"""Priors: initial foreground maps of unlabeled video (Q of MuG Sec. 3.2).

A prior takes a video and the indices of frames (None for all), and yields one soft map per frame, in order: HW uint8 at
the video's size, 128 or more where foreground is more likely than not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from mug.media.video import Video
from mug.priors.manifold_ranking import manifold_ranking_prior
from mug.priors.motion import motion_prior
from mug.priors.saliency import saliency_prior

Prior = Callable[[Video, Sequence[int] | None], Iterator[np.ndarray]]

PRIORS: dict[str, Prior] = {
    "motion": motion_prior,
    "saliency": saliency_prior,
    "manifold-ranking": manifold_ranking_prior,
}
"""The priors that need only the video; class activation maps (`mug.priors.cam`) also need a classifier."""

__all__ = ["PRIORS", "Prior", "manifold_ranking_prior", "motion_prior", "saliency_prior"]
