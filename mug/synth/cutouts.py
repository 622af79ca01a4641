"""Salient objects cut out of photos, as bodies of synthetic videos (as in SynthVOS of A-GAME, CVPR 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from mug.errors import InputError
from mug.media.listing import frame_files, mask_files
from mug.media.masks import read_binary
from mug.media.pictures import read_frame
from mug.synth.drawing import Body, Cut, rotation

LAYOUTS = (("Imgs", "Imgs"), ("images", "masks"), (".", "."))
"""Folders of images and masks: MSRA10K, whose masks (png) lie beside the images (jpg), a user's own, or one folder."""


class Cutout(NamedTuple):
    """A photo and the mask of its object."""

    image: Path
    mask: Path

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """The photo, HWC uint8 RGB, and its mask, HW float32, 0 or 1.

        Raises:
            InputError: a file is unreadable, or they differ in size.
        """
        photo, mask = read_frame(self.image), read_binary(self.mask)
        if photo.shape[:2] != mask.shape:
            raise InputError(f"{self.mask}: differs in size from {self.image.name}; give its own mask")
        return photo, mask.astype(np.float32)


def find_cutouts(folder: Path) -> list[Cutout]:
    """The images with masks of a folder, in natural order.

    Raises:
        InputError: there are none.
    """
    for images, masks in LAYOUTS:
        by_stem = mask_files(folder / masks)
        pairs = [Cutout(path, by_stem[path.stem]) for path in frame_files(folder / images) if path.stem in by_stem]
        if found := [pair for pair in pairs if pair.image != pair.mask]:
            return found
    raise InputError(f"{folder}: holds no images with masks; give MSRA10K, or folders images and masks")


@dataclass
class Sprite(Body):
    """A body whose outline is the mask of its photo."""

    shape_hw: np.ndarray
    """float32, opacity of each photo pixel."""

    def _opacity(self, xy: np.ndarray, scale: float) -> np.ndarray:
        return self.cut.read(xy, self.shape_hw, cv2.BORDER_CONSTANT)


def cut_out(rng: np.random.Generator, cutouts: Sequence[Cutout], radius: float, turn: float) -> tuple[Cut, np.ndarray]:
    """Draws an object at the area of a circle of `radius` pixels, turned by up to `turn` radians and maybe mirrored.

    Returns:
        The texture, centred on the object, and the opacity of each photo pixel.
    """
    photo, mask = cutouts[int(rng.integers(len(cutouts)))].read()
    rows, columns = np.nonzero(mask)
    scale = max(float(np.sqrt(len(rows) / np.pi)), 1.0) / radius
    centre = np.array([columns.mean(), rows.mean()]) if len(rows) else np.zeros(2)
    flip = np.diag([rng.choice([-1.0, 1.0]), 1.0])
    matrix = scale * rotation(rng.uniform(-turn, turn)) @ flip
    width = max(0.35 * scale, 0.2)
    smoothed, soft = (cv2.GaussianBlur(x, (0, 0), width) for x in (photo.astype(np.float32), mask))
    return Cut(smoothed, centre, matrix), soft
