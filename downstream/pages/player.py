"""Players: the frames of a sequence with its annotation and its results, to be looked at in the browser.

The page holds frames as WebP pictures and masks as run lengths, at a reduced size; the browser draws the views.
"""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from markupsafe import Markup
from PIL import Image

from downstream.data.dataset import Dataset
from downstream.pages.html import templates
from downstream.pages.mask_pictures import read_result
from mug.errors import InputError
from mug.media.files import natural_key
from mug.media.listing import mask_files
from mug.media.masks import PALETTE
from mug.media.sequence import FOLDER_FPS, Video

WIDTHS = (480, 400, 320, 240)
"""Widths in pixels that frames are reduced to: the first with which the sequence fits."""
QUALITY = 62
"""WebP quality of the frames."""
PROBES = 4
"""Number of frames from which the size of all is estimated."""

ReadMask = Callable[[str], np.ndarray | None]
"""The mask of a frame by name, HW uint8 ids; None if there is none."""


@dataclass(frozen=True)
class Layer:
    """Masks to be shown: the annotation, or a result."""

    name: str
    read: ReadMask
    is_truth: bool = False
    by_id: bool = False
    """Whether a result has the ids of the annotation, as in O-VOS; else all objects are compared as one."""
    values: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    """J and F by frame name, as `values["J"]["00000"]`."""


@dataclass(frozen=True)
class Film:
    """A sequence to be shown."""

    name: str
    video: Video | None
    """Its frames; None draws the masks over black."""
    names: list[str]
    """Names of all its frames, in order."""
    layers: list[Layer]
    """Annotation and results."""

    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        if self.video is not None:
            return self.video.size
        mask = next((m for layer in self.layers for name in self.names if (m := layer.read(name)) is not None), None)
        height, width = (1, 1) if mask is None else mask.shape
        return height, width

    def picture(self, index: int, size: tuple[int, int]) -> bytes:
        """A frame as a WebP picture of the given height and width; empty without a video."""
        if self.video is None:
            return b""
        small = cv2.resize(self.video[index], size[::-1], interpolation=cv2.INTER_AREA)
        buffer = io.BytesIO()
        Image.fromarray(small).save(buffer, "WEBP", quality=QUALITY, method=2)
        return buffer.getvalue()

    def mask(self, layer: Layer, index: int, size: tuple[int, int]) -> np.ndarray | None:
        """The mask of a frame at the given height and width.

        Raises:
            InputError: it cannot be read, or is not of its frame's size.
        """
        mask = layer.read(self.names[index])
        if mask is None:
            return None
        if self.video is not None and mask.shape != tuple(self.video.size):
            raise InputError(
                f"{layer.name}: the mask {self.name}/{self.names[index]} is not of its frame's size; give the videos "
                "it was made of with --videos"
            )
        return cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


def film_of(
    name: str,
    video: Video | None,
    folders: Mapping[str, Path],
    scores: Mapping[str, Mapping[str, Any]],
    dataset: Dataset | None,
) -> Film:
    """A sequence with its annotation and all its results.

    Args:
        name: The sequence.
        video: Its frames.
        folders: Folders of masks, <sequence>/<frame>.png, by the name of the result.
        scores: Scores of the results that have some, as `mug evaluate --out` wrote them.
        dataset: Holds the annotation.
    """
    annotated = dataset.frames(name) if dataset is not None and name in dataset.sequences() else {}
    layers, masked = [], dict.fromkeys(annotated)
    if annotated:
        layers.append(Layer("truth", lambda frame: annotated[frame].read() if frame in annotated else None, True))
    for result, folder in folders.items():
        if files := mask_files(folder / name):
            entry = scores.get(result, {})
            values = _values(entry.get("sequences", {}).get(name, {}), list(annotated))
            by_id = entry.get("task") == "one-shot"
            layers.append(Layer(result, _reader(files, entry.get("threshold")), by_id=by_id, values=values))
            masked |= dict.fromkeys(files)
    if video is not None and not masked.keys() & set(video.frame_names):
        video = None
    names = sorted(masked, key=natural_key) if video is None else list(video.frame_names)
    return Film(name, video, names, layers)


def _reader(files: Mapping[str, Path], threshold: float | None) -> ReadMask:
    return lambda frame: read_result(files[frame], threshold) if frame in files else None


def _values(sequence: Mapping[str, Any], annotated: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """J and F of each frame by name, of the scores of a sequence."""
    values = {}
    for measure in "JF":
        frames = sequence.get(measure, {}).get("frames", [])
        names = sequence.get("frame_names", annotated)
        if frames and len(names) == len(frames):
            values[measure] = dict(zip(names, frames, strict=True))
    return values


def fit(sequence: Film, budget: int) -> tuple[tuple[int, int], list[int]]:
    """Height and width of the pictures, and the frames to show, that need about `budget` bytes in the page.

    Wide frames are reduced; if that is not enough, frames are left out.

    Raises:
        InputError: a frame or a mask cannot be read.
    """
    count, (height, width) = len(sequence.names), sequence.size()
    probes = [int(k) for k in np.unique(np.linspace(0, count - 1, min(PROBES, count)).round())]
    for wide in WIDTHS:
        size = (max(1, round(height * min(wide, width) / width)), min(wide, width))
        needed = count * 4 / 3 * float(np.mean([_bytes(sequence, k, size) for k in probes]))
        if needed <= budget:
            break
    return size, list(range(0, count, max(1, math.ceil(needed / max(budget, 1)))))


def _bytes(sequence: Film, index: int, size: tuple[int, int]) -> int:
    """Bytes of a frame with its masks."""
    masks = [sequence.mask(layer, index, size) for layer in sequence.layers]
    coded = [runs(mask, np.unique(mask)) for mask in masks if mask is not None]
    return len(sequence.picture(index, size)) + sum(map(len, coded))


def player(
    sequence: Film,
    size: tuple[int, int],
    shown: list[int],
    features: Iterable[Mapping[str, Any]] = (),
    place: str | None = None,
) -> Markup:
    """A player of a sequence.

    Args:
        sequence: The sequence.
        size: Height and width of its pictures.
        shown: Indices of the frames that are embedded.
        features: See `downstream.pages.features`.
        place: Its identifier in the page; default: `anchor(name)`.

    Raises:
        InputError: a frame or a mask cannot be read, or they differ in size.
    """
    name, names, video, layers = sequence.name, sequence.names, sequence.video, sequence.layers
    masks = [[sequence.mask(layer, k, size) for k in shown] for layer in layers]
    ids = sorted({int(value) for some in masks for mask in some if mask is not None for value in np.unique(mask)})
    data = {
        "names": names,
        "shown": shown,
        "height": size[0],
        "width": size[1],
        "frames": [text(sequence.picture(k, size)) for k in shown] if video is not None else [],
        "ids": ids,
        "colours": {str(k): _bright(k) for k in ids if k not in (0, 255)},
        "fps": float(video.fps) if video is not None else FOLDER_FPS,
        "layers": [
            {
                "name": layer.name,
                "truth": layer.is_truth,
                "byId": layer.by_id,
                "masks": [None if mask is None else text(runs(mask, ids)) for mask in some],
                "values": {m: [_rounded(found.get(frame)) for frame in names] for m, found in layer.values.items()},
            }
            for layer, some in zip(layers, masks, strict=True)
        ],
        "features": list(features),
    }
    template = templates().get_template("player.html")
    results = [layer.name for layer in layers if not layer.is_truth]
    content = template.render(
        name=name,
        anchor=anchor(name) if place is None else place,
        data=data,
        results=results,
        truth=any(layer.is_truth for layer in layers),
        curves=any(layer.values for layer in layers),
        count=len(shown),
        thinned=len(shown) < len(names),
    )
    return Markup(content)


def anchor(sequence: str) -> str:
    """Identifier of a sequence's player in the page; with `/<frame>` it leads to a frame.

    >>> anchor("dog 1")
    'dog-1'
    """
    return re.sub(r"[^\w.-]+", "-", sequence)


def text(data: bytes) -> str:
    """Bytes as base64."""
    return base64.b64encode(data).decode()


def runs(mask: np.ndarray, ids: Any) -> bytes:
    """A mask as run lengths, row by row: each run is length * len(ids) + index in `ids`, seven bits a byte, low first.

    Args:
        mask: HW uint8.
        ids: All its values, sorted; a list or an array.
    """
    flat = mask.ravel()
    starts = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1])
    lengths = np.diff(np.concatenate([starts, [flat.size]]))
    codes = lengths.astype(np.int64) * len(ids) + np.searchsorted(ids, flat[starts])
    shifted = codes[:, None] >> (7 * np.arange(6))
    used = shifted > 0
    more = np.concatenate([used[:, 1:], np.zeros((len(codes), 1), bool)], axis=1)
    return ((shifted & 127) | (more << 7))[used].astype(np.uint8).tobytes()


def _bright(identity: int) -> list[int]:
    """The colour of an object: that of the palette, as bright as it gets and a little lighter."""
    colour = PALETTE[identity].astype(float)
    return [int(value) for value in np.rint(40 + colour / max(colour.max(), 1) * 215)]


def _rounded(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else round(float(value), 4)
