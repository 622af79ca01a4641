"""Evidence for an object besides matching: motion relative to the camera, and appearance.

Matching alone drifts: labels leak between places with similar features, and nothing in Eq. 17 corrects this. Two
further cues do so inside the recursion, so the labels stored for a frame combine all of them:

- motion: the log odds of the motion prior. All objects share them, weighted by how well the prior explains each
  object's given mask, so an object at rest is left to matching;
- appearance: a linear readout of colour and features, fitted in closed form to the given masks and to the confident
  results since then; or A-GAME's Gaussians of them, which also say where an object is nowhere to be seen.

Both repeat the same errors from frame to frame, so their weights are low. A matching vote near zero is nearly a veto,
which keeps labels in place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from downstream.backbones.lattice import EVEN, Lattice
from downstream.one_shot.appearance import Appearance
from downstream.one_shot.gaussian_appearance import GaussianAppearance
from downstream.one_shot.motion import Motion, Past
from downstream.one_shot.protocols import Looks, Witnesses, heard_looks
from mug.priors.motion import WORKING_SIDE
from mug.priors.superpixels import shrink

VETO = 1e-3
"""Lower bound on votes: limits how strongly matching can rule out an object."""
CERTAINTY = 1e-3
"""The motion prior is clipped to [CERTAINTY, 1 - CERTAINTY] before its log odds are computed."""
MOTION = 0.5
"""Weight of the prior's log odds relative to matching if the prior explains the given mask perfectly."""


@dataclass(frozen=True)
class Seen:
    """Cues of one frame.

    Attributes:
        size: (H, W) of the frame at working size.
        motion: (H, W) log odds of motion; None without that cue.
        looks: Input of the appearance readout; None without that cue.
        over: Position of the feature cells.
    """

    size: tuple[int, int]
    motion: np.ndarray | None
    looks: np.ndarray | None
    over: Lattice


class AppearanceModel(Protocol):
    """What an object and its background look like; see `downstream.one_shot.appearance.Appearance`."""

    weight: float
    """Of the result in the log odds."""

    def look(self, small: np.ndarray, features_chw: Tensor, over: Lattice = EVEN) -> np.ndarray:
        """Input of the model for a frame (H, W, 3) uint8 with features (C, h, w)."""

    def learn(self, looks: np.ndarray, labels_lhw: np.ndarray, given: Sequence[int]) -> None:
        """Updates the model with label probabilities (L, H, W) of a frame, and with what a mask of it gives."""

    def read(self, looks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """(L, *size) float32: evidence for each label at each pixel."""


class Evidence:
    """The motion and appearance cues of one video.

    Args:
        motion: Returns the motion prior of each frame in turn; None: motion is not used.
        appearance: The model of appearance; None: appearance is not used.
    """

    def __init__(self, motion: Motion | None, appearance: AppearanceModel | None) -> None:
        self._motion = motion
        self._appearance = appearance
        self._trust = [0.0]
        """How well the motion prior explains each object's given mask; background first."""

    def see(self, frame: np.ndarray, features_chw: Tensor, over: Lattice = EVEN) -> Seen:
        """Computes the cues of the next frame, HWC uint8, with features (C, h, w); `over` gives the cell positions."""
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
        """Learns from a given mask.

        Args:
            seen: Cues of its frame.
            labels_lhw: (L, H, W) share of each label in each pixel at working size; void belongs to none.
            objects: The labels given by this mask.
        """
        self._trust += [0.0] * (len(labels_lhw) - len(self._trust))
        if seen.motion is not None:
            moving = torch.from_numpy(seen.motion).sigmoid()
            others = labels_lhw[1:].sum(0)
            for label in objects:
                mine = labels_lhw[label]
                alone = moving * (1 - (others - mine))  # motion of other objects is not counted against it
                self._trust[label] = float(overlap(alone, mine)) ** 0.5
        if self._appearance is not None and seen.looks is not None:
            self._appearance.learn(seen.looks, labels_lhw.cpu().numpy(), objects)

    def join(self, seen: Seen, votes_lhw: Tensor) -> Tensor:
        """Combines matching with the cues and updates the appearance model.

        Args:
            seen: Cues of the frame.
            votes_lhw: (L, h, w) votes of matching, on the feature grid.

        Returns:
            Label probabilities (L, H, W) at working size.
        """
        votes = seen.over.enlarge(votes_lhw[None].float().cpu(), seen.size)[0]
        odds = votes.clamp_min(VETO).log()
        if seen.motion is not None:
            trust = torch.tensor(self._trust)[:, None, None]
            odds = odds + MOTION * trust * torch.from_numpy(seen.motion)
        if self._appearance is not None and seen.looks is not None:
            odds = odds + self._appearance.weight * torch.from_numpy(self._appearance.read(seen.looks, seen.size))
        labels = odds.softmax(0)
        if self._appearance is not None and seen.looks is not None:
            self._appearance.learn(seen.looks, labels.numpy(), [])
        return labels


def gather(witnesses: Witnesses, motion: Motion | None = None, looks: Looks = "ridge") -> Evidence | None:
    """The cues in use for a new video; motion is estimated from past frames unless `motion` is given."""
    if witnesses == "none":
        return None
    heard = witnesses in ("motion", "both")
    models: Mapping[Looks, Callable[[], AppearanceModel]] = {"ridge": Appearance, "gaussian": GaussianAppearance}
    return Evidence((motion or Past()) if heard else None, models[looks]() if heard_looks(witnesses) else None)


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of two soft maps in [0, 1]; 0 if both are empty."""
    return torch.minimum(a, b).sum() / torch.maximum(a, b).sum().clamp_min(1e-6)
