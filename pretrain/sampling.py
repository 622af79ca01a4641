"""Choice of the frames of a training sample (MuG Sec. 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mug.errors import InputError

CLIP = 3
"""Number of frames in a clip."""
CLIP_WINDOW = 6
"""Number of successive frames from which a clip is drawn."""
PAIR_GAP = 6
"""Smallest distance between the two frames of a pair."""
LEAST_SIZE = 32
"""Smallest side of a frame in pixels: the tracked patch is a quarter of it."""


@dataclass
class SampleOptions:
    """Contents of a sample and augmentation of its frames."""

    size: int = 256
    """Side of the square frames in pixels (Sec. 3.2); the tracked patch is a quarter of it."""
    abstract: int = 8
    """K, the number of segments of a video and of frames in its abstract (Sec. 3.2)."""
    references: int = 3
    """R, the number of frames with a map that are not in the abstract. They train the foreground losses and provide
    global information for the instance X^n of Eq. 12."""
    squeeze: bool = False
    """Whether a frame is first squeezed into a square, so that a crop of 1 shows all of it, as in the paper. Otherwise
    crops keep the aspect ratio, and the largest is a square with the shorter side of the frame."""
    crop: float = 0.6
    """Smallest side of the random crop, as a share of the largest possible one."""
    aspect: float = 1.33
    """Largest aspect ratio of the crop."""
    rotation: float = 10.0
    """Largest rotation in degrees, in either direction."""
    flip: float = 0.5
    """Share of mirrored samples. All frames of a sample are mirrored, as no affine warp between two frames mirrors."""
    jitter: float = 0.1
    """Largest relative change of brightness, contrast and saturation. Matching becomes invariant to changes of this
    size and then ignores such differences in videos: 0.4 with hue and grey costs many points of O-VOS
    (docs/results.md)."""
    hue: float = 0.0
    """Largest change of hue, as a share of the colour circle."""
    grey: float = 0.0
    """Share of clips and frames that are converted to grey."""
    blur: float = 0.2
    """Share of clips and frames that are blurred."""
    warp_rotation: float = 30.0
    """Largest rotation of the known warp in degrees."""
    warp_scale: float = 1.6
    """Largest zoom factor of the known warp, in and out."""
    warp_shift: float = 0.25
    """Largest shift of the known warp, as a share of half the frame's side."""
    warp_shear: float = 0.15
    """Largest shear of the known warp."""
    warp_strength: float = 1.0
    """Factor on the strength of the colour changes of the warped copies."""

    def __post_init__(self) -> None:
        """Rejects invalid numbers."""
        if self.size < LEAST_SIZE:
            raise InputError(f"sample.size: {self.size} px leave no patch to track; use {LEAST_SIZE} or more")
        if self.abstract < 2:
            raise InputError(f"sample.abstract: {self.abstract} frames hold no pair; use 2 or more")
        if self.references < 1:
            raise InputError(f"sample.references: {self.references} leaves an instance nothing to read; use 1 or more")
        for name in ("crop", "flip", "grey", "blur", "hue", "jitter"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"sample.{name}: {getattr(self, name)} is no share; use 0 to 1")
        for name in ("aspect", "warp_scale"):
            if getattr(self, name) < 1:
                raise InputError(f"sample.{name}: {getattr(self, name)} shrinks nothing; use 1 or more")
        if self.crop == 0:
            raise InputError("sample.crop: 0 leaves nothing to see; use more than 0")


@dataclass(frozen=True)
class SampleFrames:
    """Frame indices of a sample."""

    clip: np.ndarray
    """(3,): in temporal order, from six successive frames."""
    abstract: np.ndarray
    """(K,): one from each segment of equal duration, with or without a map."""
    pair: np.ndarray
    """(2,): two positions in `abstract` in random order, of frames at least 6 apart if the video allows it."""
    instance: int
    """One more frame, for instance discrimination."""
    references: np.ndarray
    """(R,): the references of the instance; frames with a map, if there are enough."""


def draw_frames(
    length: int, abstract: int, references: int, label_stride: int, rng: np.random.Generator
) -> SampleFrames:
    """Draws the frames of a sample from a video.

    Abstract, instance and references have no frame in common if the video is long enough.

    Args:
        length: Number of frames of the video, at least 1.
        abstract: K, the number of segments.
        references: R, the number of references.
        label_stride: Every `label_stride`-th frame from frame 0 on has a label. Only references are chosen by this.
        rng: The sample's own generator.
    """
    clip = _draw_clip(length, rng)
    frames = np.array([_draw_from_segment(length, k, abstract, rng) for k in range(abstract)])
    pair = _draw_pair(frames, rng)
    rest = _without(np.arange(length), frames)
    instance = int(rng.choice(rest))
    rest = _without(rest, instance)
    labelled = rest % label_stride == 0
    others = np.concatenate([rng.permutation(rest[labelled]), rng.permutation(rest[~labelled])])
    return SampleFrames(clip, frames, pair, instance, np.resize(others, references))


def _without(frames: np.ndarray, taken: np.ndarray | int) -> np.ndarray:
    """The frames that are not taken; all of them if none would be left."""
    rest = np.setdiff1d(frames, taken)
    return rest if len(rest) else frames


def _draw_clip(length: int, rng: np.random.Generator) -> np.ndarray:
    window = min(CLIP_WINDOW, length)
    start = rng.integers(length - window + 1)
    return start + np.sort(rng.choice(window, CLIP, replace=window < CLIP))


def _draw_from_segment(length: int, k: int, segments: int, rng: np.random.Generator) -> int:
    """A random frame of segment `k`; segments share frames if the video has too few."""
    start = k * length // segments
    return int(rng.integers(start, max(start + 1, (k + 1) * length // segments)))


def _draw_pair(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    distance = np.abs(frames[:, None] - frames)
    enough = min(PAIR_GAP, distance.max())
    pairs = np.argwhere((distance >= enough) & ~np.eye(len(frames), dtype=bool))
    return pairs[rng.integers(len(pairs))]
