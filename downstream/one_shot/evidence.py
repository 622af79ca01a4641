"""What speaks for an object besides matching: that it moves unlike the camera, and what it looks like.

Matching alone drifts: where two places look alike to the features, labels leak from one to the other, and nothing in
Eq. 17 brings them back. Two witnesses do, inside the recursion, so that what is remembered of a frame is what all of
them agree on:

- motion: the log odds of the motion prior. They are shared by all objects, and count for each by how well the prior
  explains its given mask, so that an object at rest is left to matching;
- appearance: a linear readout of colour and features, fitted in closed form to the given masks and to what has been
  sure since.

Both are repeated from frame to frame and wrong in the same places, so that each speaks softly; what keeps labels in
place is that a vote of matching of nearly zero is nearly a veto.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from downstream.backbones.lattice import EVEN, Lattice
from downstream.one_shot.appearance import Appearance
from downstream.one_shot.motion import Motion, Past
from downstream.one_shot.protocols import Witnesses
from mug.priors.motion import WORKING_SIDE
from mug.priors.superpixels import shrink

VETO = 1e-3
"""Votes below it count as this much: how sure matching can be that an object is not there."""
CERTAINTY = 1e-3
"""The motion prior is held within [CERTAINTY, 1 - CERTAINTY] before its log odds are taken."""
MOTION = 0.5
"""What the log odds of a prior that explains a given mask perfectly count against those of matching."""
APPEARANCE = 0.4
"""What the readout of appearance, 0 to 1, counts."""


@dataclass(frozen=True)
class Seen:
    """What the witnesses see in a frame.

    Attributes:
        size: (H, W) of the frame at working size.
        motion: (H, W) log odds that something moves; None without that witness.
        looks: What the readout of appearance reads; None without that witness.
        over: Where the cells of its features lie.
    """

    size: tuple[int, int]
    motion: np.ndarray | None
    looks: np.ndarray | None
    over: Lattice


class Evidence:
    """The witnesses of one video.

    Args:
        motion: Gives the motion prior of each frame in turn; None: it is not heard.
        appearance: Whether appearance is heard.
    """

    def __init__(self, motion: Motion | None, appearance: bool) -> None:
        self._motion = motion
        self._appearance = Appearance() if appearance else None
        self._trust = [0.0]
        """How well the prior explains each object's given mask; background first."""

    def see(self, frame: np.ndarray, features_chw: Tensor, over: Lattice = EVEN) -> Seen:
        """Looks at the next frame, HWC uint8, with its features (C, h, w), whose cells lie as `over` says."""
        small = shrink(frame, WORKING_SIDE)
        size = small.shape[:2]
        odds = None
        if self._motion is not None:
            map_hw = cv2.resize(self._motion(frame), size[::-1], interpolation=cv2.INTER_AREA)
            likely = np.clip(map_hw.astype(np.float32) / 255, CERTAINTY, 1 - CERTAINTY)
            odds = np.log(likely / (1 - likely))
        looks = None if self._appearance is None else self._appearance.look(small, features_chw, over)
        return Seen(size, odds, looks, over)

    def given(self, seen: Seen, labels_lhw: Tensor, objects: list[int]) -> None:
        """Takes a mask that was given.

        Args:
            seen: Its frame.
            labels_lhw: (L, H, W) share of each label in each pixel of the working size, void of none.
            objects: Which of the labels were given with it.
        """
        self._trust += [0.0] * (len(labels_lhw) - len(self._trust))
        if seen.motion is not None:
            moving = torch.from_numpy(seen.motion).sigmoid()
            others = labels_lhw[1:].sum(0)
            for label in objects:
                mine = labels_lhw[label]
                alone = moving * (1 - (others - mine))  # what the prior finds of other objects is not held against it
                self._trust[label] = float(overlap(alone, mine)) ** 0.5
        if self._appearance is not None and seen.looks is not None:
            self._appearance.learn(seen.looks, labels_lhw.cpu().numpy(), given=True)

    def join(self, seen: Seen, votes_lhw: Tensor) -> Tensor:
        """What matching and the witnesses agree on, and appearance learns from: probabilities (L, H, W).

        Args:
            seen: The frame.
            votes_lhw: (L, h, w) what matching gives, on the grid of the features.
        """
        votes = seen.over.enlarge(votes_lhw[None].float().cpu(), seen.size)[0]
        odds = votes.clamp_min(VETO).log()
        if seen.motion is not None:
            trust = torch.tensor(self._trust)[:, None, None]
            odds = odds + MOTION * trust * torch.from_numpy(seen.motion)
        if self._appearance is not None and seen.looks is not None:
            odds = odds + APPEARANCE * torch.from_numpy(self._appearance.read(seen.looks, seen.size))
        labels = odds.softmax(0)
        if self._appearance is not None and seen.looks is not None:
            self._appearance.learn(seen.looks, labels.numpy(), given=False)
        return labels


def gather(witnesses: Witnesses, motion: Motion | None = None) -> Evidence | None:
    """The witnesses that are asked for, to begin a video with; motion by the past alone unless another is given."""
    if witnesses == "none":
        return None
    heard = witnesses in ("motion", "both")
    return Evidence((motion or Past()) if heard else None, witnesses in ("appearance", "both"))


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of two soft maps in [0, 1]; 0 where both are empty."""
    return torch.minimum(a, b).sum() / torch.maximum(a, b).sum().clamp_min(1e-6)
