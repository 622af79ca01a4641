"""Masks as COCO (instances of images) and YouTube-VIS (instances of videos), both ways."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mug import __version__
from mug.errors import InputError
from mug.exchange import rle
from mug.exchange import sequences as results
from mug.media.files import is_hidden
from mug.media.masks import VOID
from mug.media.plain import read_json

HEAD = {
    "info": {"description": f"masks of mug {__version__}"},
    "licenses": [],
    "categories": [{"id": 1, "name": "object", "supercategory": "object"}],
}
"""All objects are of one class, since their classes are not known."""

MOST_PIXELS = 178_956_970
"""Largest image, as Pillow has it for pictures: a file may claim any size."""

Masks = Iterator[tuple[str, str, np.ndarray]]
"""Names of sequence and frame, and the mask (H, W) uint8."""


def to_coco(sequences: Iterable[results.Sequence]) -> dict[str, Any]:
    """An image for each frame and an annotation for each object in it; `track_id` is the object's id in the masks.

    Raises:
        InputError: a mask cannot be used.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for sequence in sequences:
        for frame, mask in sequence.masks():
            height, width = mask.shape
            image = {"id": len(images) + 1, "file_name": sequence.image(frame), "height": height, "width": width}
            images.append(image)
            for i, shape in results.objects_of(mask):
                code = rle.encode(shape)
                annotations.append(
                    _annotation(annotations, code)
                    | {"image_id": image["id"], "segmentation": code}
                    | _identity(i)
                    | {"area": rle.area(code), "bbox": rle.bbox(code)}
                )
    return HEAD | {"images": images, "annotations": annotations}


def to_youtube_vis(sequences: Iterable[results.Sequence]) -> dict[str, Any]:
    """A video for each sequence, and an annotation for each of its objects with a mask, or null, for each frame.

    Raises:
        InputError: a mask cannot be used.
    """
    videos: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for sequence in sequences:
        shapes: dict[int, dict[str, Any]] = defaultdict(dict)
        height, width = 0, 0
        for frame, mask in sequence.masks():
            height, width = mask.shape
            for i, shape in results.objects_of(mask):
                shapes[i][frame] = rle.encode(shape)
        files = [sequence.image(frame) for frame in sequence.files]
        video = {"id": len(videos) + 1, "file_names": files, "height": height, "width": width, "length": len(files)}
        videos.append(video)
        for i, found in sorted(shapes.items()):
            codes = [found.get(frame) for frame in sequence.files]
            annotations.append(
                _annotation(annotations, video)
                | {"video_id": video["id"], "segmentations": codes}
                | _identity(i)
                | {"areas": [code and rle.area(code) for code in codes]}
                | {"bboxes": [code and rle.bbox(code) for code in codes]}
            )
    return HEAD | {"videos": videos, "annotations": annotations}


def _annotation(others: Sequence[Any], about: Mapping[str, Any]) -> dict[str, Any]:
    height, width = about["size"] if "size" in about else (about["height"], about["width"])
    return {"id": len(others) + 1, "category_id": 1, "iscrowd": 0, "height": height, "width": width}


def _identity(i: int) -> dict[str, Any]:
    """The id of an object, in both places where tools look for it."""
    return {"track_id": i, "attributes": {"track_id": i}}


def _identity_in(annotation: Any) -> Any:
    """The id in an annotation; None if it has none."""
    return annotation.get("track_id", (annotation.get("attributes") or {}).get("track_id"))


def read(path: Path) -> Masks:
    """The masks in a COCO or YouTube-VIS file.

    The sequence of an image is the folder in its file name, or the name of the JSON file. Ids are the `track_id` of the
    annotations; without, those of an image or video are numbered in their order. Where objects overlap, the later one
    is in front.

    Raises:
        InputError: the file cannot be read, or is no such file.
    """
    content = read_json(path)
    try:
        yield from _of_videos(content, path) if "videos" in content else _of_images(content, path)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, MemoryError) as error:
        why = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path}: is no COCO or YouTube-VIS file ({why}); export it again") from error


def _of_images(content: Any, path: Path) -> Masks:
    objects = defaultdict(list)
    for annotation in content["annotations"]:
        objects[annotation["image_id"]].append(annotation)
    for image in content["images"]:
        size = _size(image)
        shapes = [(_identity_in(entry), entry["segmentation"]) for entry in objects[image["id"]]]
        yield *_named(image["file_name"], path), _joined(shapes, size)


def _of_videos(content: Any, path: Path) -> Masks:
    objects = defaultdict(list)
    for annotation in content["annotations"]:
        objects[annotation["video_id"]].append(annotation)
    for video in content["videos"]:
        size = _size(video)
        for index, file in enumerate(video["file_names"]):
            shapes = [(_identity_in(entry), entry["segmentations"][index]) for entry in objects[video["id"]]]
            yield *_named(file, path), _joined(shapes, size)


def _size(entry: Any) -> tuple[int, int]:
    """Height and width of an image or video."""
    height, width = int(entry["height"]), int(entry["width"])
    if not (height > 0 and width > 0 and height * width <= MOST_PIXELS):
        raise ValueError(f"an image of {width}x{height} pixels; there may be {MOST_PIXELS:,}")
    return height, width


def _joined(shapes: Sequence[tuple[Any, Any]], size: tuple[int, int]) -> np.ndarray:
    """The mask (H, W) uint8 of objects, given by id (None for their number) and segmentation (None for none)."""
    mask = np.zeros(size, np.uint8)
    for number, (i, segmentation) in enumerate(shapes, 1):
        identity = number if i is None else int(i)
        if not 0 < identity < VOID:
            raise ValueError(f"object {identity}: ids of masks are 1 to {VOID - 1}")
        if segmentation is not None:
            mask[rle.decode(segmentation, size)] = identity
    return mask


def _named(file: str, path: Path) -> tuple[str, str]:
    """Names of sequence and frame; neither leads out of a folder."""
    place = PurePosixPath(file.replace("\\", "/"))
    sequence = place.parent.name or path.stem
    for name in (sequence, place.stem):
        if not name or is_hidden(name):
            raise ValueError(f"the file name {file!r} will not do")
    return sequence, place.stem
