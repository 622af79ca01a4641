"""The same results in other encodings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from mug.media.masks import read_mask, write_mask

FRAMES = 6
"""Of each sequence."""


def rewrite(folder: Path, change: Callable[[np.ndarray], np.ndarray | Image.Image]) -> None:
    for path in sorted(folder.rglob("*.png")):
        changed = change(read_mask(path))
        if isinstance(changed, Image.Image):
            changed.save(path)
        else:
            write_mask(path, changed)


def as_binary(mask: np.ndarray) -> Image.Image:
    return Image.fromarray((mask > 0).astype(np.uint8) * 255)


def as_bits(mask: np.ndarray) -> Image.Image:
    return Image.fromarray(mask > 0)


def as_soft(mask: np.ndarray) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 100, mask.shape)
    return Image.fromarray(np.where(mask > 0, 155 + noise, noise).astype(np.uint8))
