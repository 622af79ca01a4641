"""Refining the readout on the very video it looks at, without a label (MuG Eq. 15, carried to test time).

A motion prior is right about a video more often than about any frame of it: it misses what rests for a moment and
fires on what moves beside the object. Four properties of a video correct this, none of them
with a label:

- the object stays: evidence is *carried* along the optical flow from both ends of the video, as far as the flow there
  and back agrees, so that a frame that shows little is filled from those that show more;
- the object is one: what lies apart from the main part of a frame, and is small beside it, counts as clutter;
- the object looks alike: small *readouts* are fitted to that evidence, on what phi sees (r and the trained readout's
  own answer), on colour and on place, and asked again; a fit over the whole video averages the noise of its frames.
  Their log odds join those of the evidence, and the sum is the target of the next round;
- the object has an outline: the map of a video is cut not at 0.5 but close to it, where moving the cut changes the mask
  least and the outline runs along edges of the frames.
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
"""What is left of the probability of clutter: not foreground, but the flow may bring it back."""


@dataclass(frozen=True)
class AdaptConfig:
    """How the readout is refined on a video."""

    stretch: int = 128
    """Maximum number of frames adapted together: bounds memory in long videos."""
    rounds: int = 2
    """How often the readouts are fitted to evidence and asked for new one."""
    fresh: float = 0.07
    """What a frame's own evidence counts against what the flow brings from its neighbours."""
    clutter: float = 0.4
    """Parts of a frame's foreground with less than this share of the largest part's evidence are dropped."""
    trust: float = 0.25
    """What the readouts' log odds count against those of the evidence carried."""
    leeway: float = 1.5
    """By what factor the area of the foreground may differ from that of the evidence cut at 0.5."""
    readout: ReadoutConfig = field(default_factory=ReadoutConfig)
    """How each of them is fitted."""


def adapt(
    sight: Sight, config: AdaptConfig | None = None, prior: Prior = PRIORS["motion"]
) -> Iterator[tuple[range, np.ndarray]]:
    """Stretches of the video, in order, with (T, h, w) float32 foreground probability at the size that phi sees.

    Args:
        sight: The video, as phi sees it.
        config: The defaults when not given.
        prior: Gives the evidence to begin with.
    """
    config = config or AdaptConfig()
    for stretch in stretches(len(sight.video), config.stretch):
        yield stretch, adapted_probabilities(watch(sight, stretch, prior), config)


def stretches(frames: int, longest: int) -> list[range]:
    """Cuts a video into parts of even length, none longer than `longest`.

    >>> stretches(250, 100)
    [range(0, 83), range(83, 166), range(166, 250)]
    """
    parts = -(-frames // longest)
    return [range(k * frames // parts, (k + 1) * frames // parts) for k in range(parts)]


def adapted_probabilities(watched: Watched, config: AdaptConfig) -> np.ndarray:
    """(T, H, W) float32 foreground probability: the rounds."""
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
    """Lowers the parts of each frame's foreground whose evidence is under `share` of its largest part's."""
    out = map_thw.copy()
    for map_hw in out:
        count, part_hw = cv2.connectedComponents((map_hw > 0.5).astype(np.uint8))
        if count > 2:
            mass = np.bincount(part_hw.ravel(), map_hw.ravel(), count)
            minor = mass < share * mass[1:].max()
            minor[0] = False
            np.minimum(map_hw, DROPPED, out=map_hw, where=minor[part_hw])
    return out
