"""Priors: initial fore/background maps of unlabeled video (MuG Section 3.2, Q).

A prior takes a video and the frames that maps are wanted of (all when none are named), and yields one soft map for each
in order: HW uint8 at the video's own size, 128 and more where it holds the foreground for likelier than not.
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
"""The priors that need nothing but the video; class activation maps (`mug.priors.cam`) need a classifier, too."""

__all__ = ["PRIORS", "Prior", "manifold_ranking_prior", "motion_prior", "saliency_prior"]
