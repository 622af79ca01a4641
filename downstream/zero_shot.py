"""Finding the main object of a video that comes without any mask (Z-VOS; MuG Sec. 3.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from downstream.adapt import AdaptConfig, adapt
from mug.backbone import Features
from mug.errors import InputError
from mug.model import MuG
from mug.video import Video


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


def segment_video(video: Video, model: MuG, config: ZeroShotConfig | None = None) -> Iterator[np.ndarray]:
    """Foreground probability of each frame, in order.

    Deterministic, and memory does not grow with the length of the video.

    Args:
        video: At least one frame.
        model: In evaluation mode, on the device that shall compute.
        config: The defaults when not given.

    Yields:
        (H, W) float32 in [0, 1] at the video's own size.

    Raises:
        InputError: a frame that cannot be read, or settings out of range.
    """
    config = config or ZeroShotConfig()
    check_config(config)
    sight = Sight(video, model, config.size, config.references)
    height, width = video.size
    maps = paper_maps(sight) if config.mode == "paper" else adapt(sight, AdaptConfig())
    for map_hw in maps:
        yield np.clip(cv2.resize(map_hw, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)


def check_config(config: ZeroShotConfig) -> None:
    """Raises `InputError` where a setting is out of range."""
    if config.size < 32:
        raise InputError(f"--size {config.size}: must be at least 32 pixels")
    if config.references < 1:
        raise InputError(f"--references {config.references}: must be at least 1")


def reference_indices(frames: int, references: int) -> list[int]:
    """The frames at the centres of `references` equal segments of a video, each once.

    >>> reference_indices(50, 4)
    [6, 18, 31, 43]
    """
    return sorted({(2 * k + 1) * frames // (2 * references) for k in range(references)})


class Sight:
    """What phi sees of a video: its frames, each augmented from references of the whole video (MuG Eq. 9-11).

    Attributes:
        video: The video.
        size: Height and width (px) at which phi sees it.
    """

    def __init__(self, video: Video, model: MuG, size: int, references: int) -> None:
        self.video = video
        self.size = fit_size(video.size, size)
        self._model = model
        self._references = {i: self._see(video[i]) for i in reference_indices(len(video), references)}

    def frame(self, index: int) -> np.ndarray:
        """Frame `index` at the size phi sees it, HWC uint8 RGB."""
        return self.shrink(self.video[index])

    def shrink(self, frame: np.ndarray) -> np.ndarray:
        """HWC uint8 RGB at the video's size -> at the size phi sees."""
        height, width = self.size
        return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)

    @torch.inference_mode()
    def augmented(self, index: int, frame: np.ndarray) -> Tensor:
        """Gives r (1, 256, h, w) of frame `index`, which is no reference of itself unless it is alone."""
        query = self._references.get(index) or self._see(frame)
        others = [seen for i, seen in self._references.items() if i != index] or [query]
        source = Features(*(torch.stack(maps, 1) for maps in zip(*others, strict=True)))
        return self._model.aggregate(query, source)

    @torch.inference_mode()
    def read(self, r_bchw: Tensor) -> np.ndarray:
        """The readout v's foreground probability (h, w) of r (1, 256, h, w)."""
        probability: np.ndarray = self._model.readout(r_bchw)[0, 0].float().sigmoid().cpu().numpy()
        return probability

    @torch.inference_mode()
    def _see(self, frame: np.ndarray) -> Features:
        device = next(self._model.parameters()).device
        x = torch.from_numpy(self.shrink(frame)).to(device).permute(2, 0, 1)[None].float() / 255
        return Features(*self._model.phi(x))


def paper_maps(sight: Sight) -> Iterator[np.ndarray]:
    """The readout as trained (MuG Sec. 3.3), on phi's grid, frame by frame."""
    for index, frame in enumerate(sight.video):
        yield sight.read(sight.augmented(index, frame))


def fit_size(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    """Height and width with the shorter side at most `shorter` pixels, the aspect kept."""
    scale = min(1.0, shorter / min(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
