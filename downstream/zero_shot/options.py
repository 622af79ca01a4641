"""How the main object is looked for: options, which load no library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mug.errors import InputError


@dataclass
class ZeroShotConfig:
    """How the main object is looked for."""

    mode: Literal["adapted", "paper"] = "adapted"
    """`paper`: the readout as trained. `adapted`: the video's own motion joins it as evidence and it is refined on this
    very video for a few rounds, without a label."""
    size: int = 240
    """Pixels of the frame's shorter side as phi sees it."""
    references: int = 8
    """From how many frames, spread over the whole video, each frame is augmented."""
    carry: bool = True
    """In the adapted mode, carry the mask of the surest frame to all others by matching; off: half the time."""

    def check(self) -> None:
        """Raises `InputError` where a setting is out of range."""
        if self.size < 32:
            raise InputError(f"--size {self.size}: must be at least 32 pixels")
        if self.references < 1:
            raise InputError(f"--references {self.references}: must be at least 1")
