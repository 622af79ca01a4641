"""Options of instance segmentation; importing them loads no library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mug.errors import InputError

MOST_TRACKS = 20
"""Maximum number of proposals in the DAVIS-17 unsupervised benchmark."""


@dataclass
class InstanceConfig:
    """Options of instance segmentation."""

    detector: Path | None = None
    """Weights of torchvision's Mask R-CNN for the proposals; by default EdgeBoxes and motion with GrabCut, without
    learning."""
    raft: Path | None = None
    """Weights of torchvision's RAFT for the optical flow; DIS by default."""
    propagate: bool = False
    """Propagate the objects of the first frame through the video by matching (O-VOS), as in HCPN, instead of linking
    proposals from frame to frame. In each frame they are merged with the object-level mask: they keep their pixels
    inside it, and its other pixels go to the nearest object of their region."""
    merge: bool = True
    """Whether propagated objects are merged with the object-level mask; otherwise they are as propagated."""
    size: int = 240
    """Shorter side of the frames, in pixels, for linking; a detector gets frames at their original size."""
    tracks: int = MOST_TRACKS
    """Maximum number of objects; the most confident ones are kept."""

    def check(self) -> None:
        """Raises `InputError` if a setting is out of range."""
        if self.size < 32:
            raise InputError(f"--instance.size {self.size}: must be at least 32 pixels")
        if not 1 <= self.tracks <= MOST_TRACKS:
            raise InputError(f"--instance.tracks {self.tracks}: must be 1 to {MOST_TRACKS}, as the benchmark takes")
