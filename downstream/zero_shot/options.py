"""Options of main object segmentation; importing them loads no library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mug.errors import InputError


@dataclass
class ZeroShotConfig:
    """Options of main object segmentation."""

    mode: Literal["adapted", "paper"] = "adapted"
    """`paper`: the readout as trained. `adapted`: the readout is combined with the motion prior and refined on the
    video itself for a few rounds, without labels."""
    size: int = 240
    """Shorter side of phi's input in pixels."""
    references: int = 8
    """Number of reference frames, spread over the whole video, that augment each frame."""
    carry: bool = True
    """In the adapted mode, carry the mask of the most confident frame to all others by matching; turning it off halves
    the run time."""

    def check(self) -> None:
        """Raises `InputError` if a setting is out of range."""
        if self.size < 32:
            raise InputError(f"--size {self.size}: must be at least 32 pixels")
        if self.references < 1:
            raise InputError(f"--references {self.references}: must be at least 1")
