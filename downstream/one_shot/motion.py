"""The motion prior frame by frame: from the whole video, or from past frames only."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from mug.media.video import Video
from mug.priors.motion import WORKING_SIDE, Look, agree, finish, look, motion_prior
from mug.priors.superpixels import shrink

Motion = Callable[[np.ndarray], np.ndarray]
"""Called with each frame, HWC uint8 RGB, in turn; returns its soft foreground map, HW uint8, 128 where undecided."""

PAST = 12
"""Number of past frames that the motion prior combines when future frames are unknown."""


def whole_video(video: Video, start: int = 0) -> Motion:
    """The motion prior of each frame from frame `start` on, using past and future frames."""
    maps = motion_prior(video, range(start, len(video)))
    return lambda frame: next(maps)


class Past:
    """The motion prior from past frames only; at most `PAST` frames are kept."""

    def __init__(self) -> None:
        self._last: np.ndarray | None = None
        self._looks: deque[Look] = deque(maxlen=PAST)

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """(H, W) uint8 soft foreground map of the next frame (H, W, 3) uint8; of the first by saliency alone."""
        small = shrink(frame, WORKING_SIDE)
        others = {} if self._last is None else {-1: self._last}
        self._last = small
        self._looks.append(look(small, others))
        soft = agree(list(self._looks), range(len(self._looks)))[-1]
        return finish(soft, self._looks[-1], frame.shape[:2])
