"""Optical flow of training videos: computed once, kept on disk, and changed together with its frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2
from torchvision.utils import flow_to_image

from downstream.instances.flow import FlowMethod
from downstream.training.annotated import Annotated
from mug.errors import InputError
from mug.media.files import atomic_path, inside
from mug.media.pictures import load_picture
from mug.run.progress import track

LEVELS = 127
"""Steps of a stored component from 0 to the longest vector of its flow; colours have no more."""


class Flow(tv_tensors.TVTensor):
    """Flow vectors (N, 2, H, W), x and y: mirroring and rotation change them too, and colour jitter does not.

    Resizing and crops only move them: the colours of a flow do not depend on the frame's size, and a direction is one
    in the frame's own proportions.
    """


class Flows:
    """The flow from each frame of a video to the next, in files of a folder.

    Args:
        folder: One folder for each dataset and split: files are named by video and number of the frame.
        method: Computes the flow of two frames.
        shorter: Shorter side in pixels, at least, that frames are read at.
    """

    def __init__(self, folder: Path, method: FlowMethod, shorter: int) -> None:
        self.folder, self._method, self._shorter = folder, method, shorter

    def compute(self, sources: Sequence[Annotated]) -> None:
        """Writes the flows that are missing, so an interrupted call can be resumed.

        Raises:
            InputError: a frame cannot be read.
        """
        pairs = [(source, k) for source in sources for k in range(len(source) - 1)]
        for source, k in track([pair for pair in pairs if not self._path(*pair).is_file()], "optical flow"):
            frames = [source.read(index, self._shorter)[0] for index in (k, k + 1)]
            with atomic_path(self._path(source, k)) as path:
                _to_picture(self._method(*frames)).save(path)

    def read(self, source: Annotated, start: int, end: int) -> Tensor:
        """Flow (2, h, w) from a frame to the next, in units of its longest vector; 0 from a frame to itself.

        Raises:
            InputError: the file is damaged.
        """
        if start == end:
            return torch.zeros(2, *source.read(start, self._shorter)[0].shape[:2])
        path = self._path(source, start)
        try:
            levels = np.asarray(load_picture(path, "frame"), np.float32)[..., :2]
        except (InputError, IndexError) as error:
            raise InputError(f"{path}: is damaged; remove it, it is computed again") from error
        return torch.from_numpy((levels - LEVELS - 1) / LEVELS).permute(2, 0, 1)

    def _path(self, source: Annotated, index: int) -> Path:
        return inside(self.folder, source.name) / f"{index:05d}.png"


def in_colours(flow_n2hw: Tensor) -> Tensor:
    """Flows (N, 2, H, W) -> pictures uint8 (N, 3, H, W) on the usual colour wheel, each by its longest vector."""
    return torch.stack([flow_to_image(flow.as_subclass(Tensor)) for flow in flow_n2hw])


def _to_picture(flow: np.ndarray) -> Image.Image:
    longest = max(float(np.linalg.norm(flow, axis=-1).max()), 1e-6)
    levels = np.rint(flow / longest * LEVELS) + LEVELS + 1
    return Image.fromarray(np.dstack([levels, np.zeros(flow.shape[:2])]).astype(np.uint8))


def _flow(flow: Tensor) -> Any:
    return tv_tensors.wrap(flow, like=Flow(torch.zeros(1)))


@v2.functional.register_kernel(v2.functional.resize, Flow)
def _resize(flow: Tensor, size: list[int], **_: Any) -> Any:
    return _flow(v2.functional.resize_image(flow.as_subclass(Tensor), size, antialias=True))


@v2.functional.register_kernel(v2.functional.resized_crop, Flow)
def _resized_crop(flow: Tensor, top: int, left: int, height: int, width: int, size: list[int], **_: Any) -> Any:
    return _flow(v2.functional.resized_crop_image(flow.as_subclass(Tensor), top, left, height, width, size))


@v2.functional.register_kernel(v2.functional.horizontal_flip, Flow)
def _horizontal_flip(flow: Tensor) -> Any:
    return _flow(mirrored(flow.as_subclass(Tensor)))


@v2.functional.register_kernel(v2.functional.rotate, Flow)
def _rotate(flow: Tensor, angle: float, **_: Any) -> Any:
    turned = v2.functional.rotate_image(flow.as_subclass(Tensor), angle, InterpolationMode.BILINEAR)
    # counter-clockwise in a picture, whose y points down
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    x, y = turned.unbind(-3)
    return _flow(torch.stack([cos * x + sin * y, cos * y - sin * x], -3))


def mirrored(flow_n2hw: Tensor) -> Tensor:
    """The flow (..., 2, H, W) of mirrored frames."""
    return flow_n2hw.flip(-1) * flow_n2hw.new_tensor([-1, 1]).view(2, 1, 1)
