"""How objects are told apart: options, which load no library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mug.errors import InputError

MOST_TRACKS = 20
"""What the DAVIS-17 unsupervised benchmark takes."""


@dataclass
class InstanceConfig:
    """How the objects of a video are told apart."""

    detector: Path | None = None
    """Weights of torchvision's Mask R-CNN, whose masks are the proposals; without, EdgeBoxes and motion with GrabCut,
    which learned nothing."""
    raft: Path | None = None
    """Weights of torchvision's RAFT for the optical flow; DIS when not given."""
    propagate: bool = False
    """HCPN's way: the objects of the first frame are carried through the video by the matching features (O-VOS),
    instead of being linked from frame to frame."""
    size: int = 240
    """Pixels of the frame's shorter side at which objects are told apart; a detector sees frames in their own size."""
    tracks: int = MOST_TRACKS
    """Objects at most, the surest ones."""

    def check(self) -> None:
        """Raises `InputError` where a setting is out of range."""
        if self.size < 32:
            raise InputError(f"--instance.size {self.size}: must be at least 32 pixels")
        if not 1 <= self.tracks <= MOST_TRACKS:
            raise InputError(f"--instance.tracks {self.tracks}: must be 1 to {MOST_TRACKS}, as the benchmark takes")
