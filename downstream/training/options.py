"""Options of fine-tuning samples; importing them loads no library."""

from __future__ import annotations

from dataclasses import dataclass

from mug.errors import InputError


@dataclass
class SampleOptions:
    """Sampling and augmentation of training frames."""

    size: int = 473
    """Side in pixels of the square that frames are resized to, ignoring their aspect ratio as in the paper."""
    videos: int = 2
    """Videos (or groups) per step, over all processes."""
    nodes: int = 3
    """N', frames per video."""
    crop: float = 0.6
    """Minimum share of the frame's area in a random crop."""
    aspect: float = 1.33
    """Maximum change of the crop's aspect ratio, as a factor."""
    jitter: float = 0.3
    """Maximum change of brightness, contrast and saturation, as a share."""
    hue: float = 0.05
    """Maximum change of hue, as a share of the colour circle."""

    def __post_init__(self) -> None:
        """Raises `InputError` if a setting is out of range."""
        for name, least in (("size", 16), ("videos", 1), ("nodes", 1), ("aspect", 1)):
            if getattr(self, name) < least:
                raise InputError(f"sample.{name}: {getattr(self, name)} is too little; use {least} or more")
        for name in ("crop", "jitter", "hue"):
            if not 0 <= getattr(self, name) <= (0.5 if name == "hue" else 1):
                raise InputError(f"sample.{name}: {getattr(self, name)} is out of range; use 0 to 1 (hue: 0.5)")
        if self.crop == 0:
            raise InputError("sample.crop: 0 leaves nothing to see; use more than 0")
