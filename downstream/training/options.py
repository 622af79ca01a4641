"""What a step of fine-tuning sees: options, which load no library."""

from __future__ import annotations

from dataclasses import dataclass

from mug.errors import InputError


@dataclass
class SampleOptions:
    """What one step sees."""

    size: int = 473
    """Side of the square that frames are brought to, in pixels; their aspect is not kept, as in the paper."""
    videos: int = 2
    """Videos (or groups) in a step, over all processes."""
    nodes: int = 3
    """N', frames of each."""
    crop: float = 0.6
    """Least share of the frame's area that a random crop keeps."""
    aspect: float = 1.33
    """Largest stretch of one side of the crop against the other."""
    jitter: float = 0.3
    """Largest change of brightness, contrast and saturation, as a share."""
    hue: float = 0.05
    """Largest change of hue, as a share of the colour circle."""

    def __post_init__(self) -> None:
        """Refuses numbers that no sample can have."""
        for name, least in (("size", 16), ("videos", 1), ("nodes", 1), ("aspect", 1)):
            if getattr(self, name) < least:
                raise InputError(f"sample.{name}: {getattr(self, name)} is too little; use {least} or more")
        for name in ("crop", "jitter", "hue"):
            if not 0 <= getattr(self, name) <= (0.5 if name == "hue" else 1):
                raise InputError(f"sample.{name}: {getattr(self, name)} is out of range; use 0 to 1 (hue: 0.5)")
        if self.crop == 0:
            raise InputError("sample.crop: 0 leaves nothing to see; use more than 0")
