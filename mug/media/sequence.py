"""The interface of a video: a sequence of frames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

FOLDER_FPS = 24.0
"""Frame rate of videos without one, such as a folder of frames: that of DAVIS."""


class Video(ABC, Sequence[np.ndarray]):
    """A sequence of RGB frames, HWC uint8, all of one size.

    Attributes:
        path: File or folder of the video.
        name: Name of its results.
        frame_names: Name of each frame, without suffix.
        size: Height and width in pixels.
        fps: Frames per second.
        live: Whether its frames come while they are worked on: its length is unknown, and there is no going back.
    """

    live: ClassVar[bool] = False

    path: Path
    name: str
    frame_names: Sequence[str]
    size: tuple[int, int]
    fps: float

    def __len__(self) -> int:
        return len(self.frame_names)

    def __getitem__(self, index: Any) -> Any:
        """Frame `index`, HWC uint8 RGB; a slice gives a list of frames."""
        if isinstance(index, slice):
            return [self._frame(i) for i in range(len(self))[index]]
        return self._frame(range(len(self))[index])

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self._frame(i) for i in range(len(self)))

    @property
    def rough_length(self) -> int:
        """Number of frames, at least roughly; found without decoding."""
        return len(self)

    def __repr__(self) -> str:
        height, width = self.size
        return f"{type(self).__name__}({str(self.path)!r}: {len(self)} frames, {width}x{height}, {self.fps:g} fps)"

    def until_stopped(self) -> AbstractContextManager[None]:
        """Context for reading a video to its end; in that of a live one, Ctrl-C is its end."""
        return nullcontext()

    def number(self, index: int) -> int:
        """Place of frame `index` in time, in frames; frames of a live video may be left out."""
        return index

    @abstractmethod
    def _frame(self, index: int) -> np.ndarray: ...
