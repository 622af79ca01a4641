"""Run-length encoding of masks as in COCO: runs of a column-major mask, background first, in a compressed string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mug.errors import InputError


def encode(mask: np.ndarray) -> dict[str, Any]:
    """The RLE of a mask (H, W) bool: `size` [H, W] and `counts`, text, as JSON stores it."""
    found = _pycocotools().encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": found["counts"].decode("ascii")}


def area(rle: dict[str, Any]) -> int:
    """Number of pixels of the object."""
    return int(_pycocotools().area(rle))


def bbox(rle: dict[str, Any]) -> list[float]:
    """x, y of the left upper corner, width and height of the box around the object, in pixels."""
    return [float(number) for number in _pycocotools().toBbox(rle)]


def decode(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """The mask (H, W) bool of a segmentation in COCO's JSON: an RLE, compressed or not, or a list of polygons.

    Raises:
        ValueError: it is none of these, or of another size.
    """
    height, width = size
    if isinstance(segmentation, list):
        if not segmentation or not all(isinstance(polygon, list) and len(polygon) >= 6 for polygon in segmentation):
            raise ValueError("a polygon has fewer than three corners")
        found = _pycocotools().decode(_pycocotools().frPyObjects(segmentation, height, width))
        return np.asarray(found.any(axis=2))
    if not isinstance(segmentation, dict) or list(segmentation["size"]) != [height, width]:
        raise ValueError(f"a segmentation is not of the size of its image, {width}x{height}")
    counts = segmentation["counts"]
    runs = np.array(_runs(counts) if isinstance(counts, str) else counts, np.int64)
    # the library trusts the counts, and would read beyond its memory
    if runs.ndim != 1 or (runs < 0).any() or runs.sum() != height * width:
        raise ValueError("the runs of a segmentation do not fill its image")
    return np.repeat(np.arange(len(runs)) % 2 > 0, runs).reshape(width, height).T


def _runs(counts: str) -> Sequence[int]:
    """The runs in a compressed string.

    A number has 5 bits a character, the lowest first; from the fourth on, it is the change since the last but one.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts.encode("ascii"):
        bits = character - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("the runs of a segmentation cannot be read")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:  # more characters follow
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("the runs of a segmentation are cut off")
    return runs


def _pycocotools() -> Any:
    """The library.

    Raises:
        InputError: it is not installed.
    """
    try:
        from pycocotools import mask
    except ModuleNotFoundError as error:
        raise InputError("COCO and YouTube-VIS files need pycocotools: pip install 'mug-vos[coco]'") from error
    return mask
