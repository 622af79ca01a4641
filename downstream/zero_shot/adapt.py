"""Test-time refinement of the readout on a video, without labels (MuG Eq. 15 at test time).

A motion prior is more reliable over a video than in a single frame: it misses an object at rest and fires on other
motion. Four properties of a video correct this without labels:

- the object persists: evidence is *carried* along the optical flow from both ends of the video, as far as forward and
  backward flow agree, so that frames with little evidence are filled from others;
- the object is connected: small parts apart from the main part of a frame are treated as clutter;
- the object's appearance is consistent: small *readouts* are fitted to that evidence, on phi's features (r and the
  trained readout's log odds), colour and position, and then evaluated; a fit over the whole video averages out the
  noise of single frames. Their log odds are added to those of the evidence, and the sum is the target of the next
  round;
- the object has an outline: the threshold is not 0.5 but one close to it, where the mask is most stable and its outline
  follows edges of the frames.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np

from downstream.zero_shot.flow import Flow
from downstream.zero_shot.log_odds import levelled, log_odds, probability
from downstream.zero_shot.outline import best_cut
from downstream.zero_shot.readouts import ReadoutConfig, ask, fit
from downstream.zero_shot.sight import Sight
from downstream.zero_shot.views import View
from downstream.zero_shot.watched import Watched, watch
from mug.priors import PRIORS, Prior

DROPPED = 0.4
"""Maximum probability of clutter: below 0.5, but the flow can still restore it."""


@dataclass(frozen=True)
class AdaptConfig:
    """Settings of test-time refinement."""

    stretch: int = 128
    """Maximum number of frames adapted together: bounds memory in long videos."""
    rounds: int = 2
    """Number of rounds of fitting and evaluating the readouts."""
    fresh: float = 0.07
    """Weight of a frame's own evidence relative to that carried from its neighbours."""
    clutter: float = 0.4
    """Parts of a frame's foreground with less than this share of the largest part's evidence are dropped."""
    trust: float = 0.25
    """Weight of the readouts' log odds relative to those of the carried evidence."""
    leeway: float = 1.5
    """Maximum factor between the area of the foreground and its area at a threshold of 0.5."""
    readout: ReadoutConfig = field(default_factory=ReadoutConfig)
    """Settings of each readout's fit."""


def adapt(
    sight: Sight, config: AdaptConfig | None = None, prior: Prior = PRIORS["motion"]
) -> Iterator[tuple[range, np.ndarray]]:
    """Yields the stretches of the video in order, each with its maps.

    Args:
        sight: The video at phi's input.
        config: Settings; None: the defaults.
        prior: Prior that gives the initial evidence.

    Yields:
        The stretch, and (T, h, w) float32 foreground probability at phi's input size.
    """
    config = config or AdaptConfig()
    for stretch in stretches(len(sight.video), config.stretch):
        yield stretch, adapted_probabilities(watch(sight, stretch, prior), config)


def stretches(frames: int, longest: int) -> list[range]:
    """Splits a video into parts of equal length, none longer than `longest`.

    >>> stretches(250, 100)
    [range(0, 83), range(83, 166), range(166, 250)]
    """
    parts = -(-frames // longest)
    return [range(k * frames // parts, (k + 1) * frames // parts) for k in range(parts)]


def adapted_probabilities(watched: Watched, config: AdaptConfig) -> np.ndarray:
    """Runs the rounds of refinement on a stretch: (T, H, W) float32 foreground probability, thresholded at 0.5."""
    flow = Flow(watched.ahead, watched.back)
    own = target = flow.carry(without_clutter(watched.prior, config.clutter), config.fresh)
    for round_ in range(config.rounds):
        share = float((own > 0.5).mean())
        views = (View(watched, None), View(watched, target))
        answers = sum(levelled(ask(fit(view, target, config.readout, round_), view), share) for view in views) / len(
            views
        )
        target = probability(levelled(log_odds(own) + config.trust * answers, share))
    target = without_clutter(target, config.clutter)
    cut = best_cut(target, watched.frames, config.leeway)
    return probability(log_odds(target) - math.log(cut / (1 - cut))).astype(np.float32)


def without_clutter(map_thw: np.ndarray, share: float) -> np.ndarray:
    """Lowers foreground parts of a frame with less than `share` of the evidence of its largest part."""
    out = map_thw.copy()
    for map_hw in out:
        count, part_hw = cv2.connectedComponents((map_hw > 0.5).astype(np.uint8))
        if count > 2:
            mass = np.bincount(part_hw.ravel(), map_hw.ravel(), count)
            minor = mass < share * mass[1:].max()
            minor[0] = False
            np.minimum(map_hw, DROPPED, out=map_hw, where=minor[part_hw])
    return out
