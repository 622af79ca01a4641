"""Training data of a head: frames of a video, or images of a group, with their foreground masks."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from downstream.data.dataset import Annotation, BinaryAnnotation, Kind
from downstream.data.groups import MASKS, Group, find_groups
from downstream.data.kinds import find_dataset, open_dataset
from mug.errors import InputError
from mug.media.listing import frame_files, mask_files, own_name
from mug.media.masks import VOID
from mug.media.pictures import PictureFile, picture_size, read_frame
from mug.run.progress import track

SALIENCY_LAYOUTS: tuple[tuple[str, str], ...] = (
    ("Imgs", "Imgs"),  # MSRA10K: images (jpg) and masks (png) side by side
    ("DUT-OMRON-image", "pixelwiseGT-new-PNG"),
    ("DUTS-TR-Image", "DUTS-TR-Mask"),
    ("DUTS-TE-Image", "DUTS-TE-Mask"),
    ("images", "masks"),
)
"""Image and mask folders of salient object datasets, and of a user's own."""


LOOKED_AT = 200
"""Approximate number of images, evenly spread, for measuring object sizes."""


class Named(Protocol):
    """What has a name."""

    name: str


Found = TypeVar("Found", bound=Named)


class Annotated(Named, Protocol):
    """Images of one video or group, each with a mask.

    Attributes:
        name: Name of the video or group.
        alike: Whether they are frames of one video, which share geometric and colour augmentation.
    """

    name: str
    alike: bool

    def __len__(self) -> int: ...

    def read(self, index: int, shorter: int) -> tuple[np.ndarray, np.ndarray]:
        """Image HWC uint8 RGB, possibly downscaled to a shorter side of at least `shorter` pixels, and its mask.

        The mask is HW uint8 at full size: 0 background, ids of objects from 1, 255 void.

        Raises:
            InputError: the image or mask cannot be read, or they differ in size.
        """


@dataclass
class AnnotatedFiles:
    """Image and mask files of a video, or still images."""

    name: str
    images: Sequence[PictureFile]
    masks: Sequence[Annotation]
    alike: bool = True

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int, shorter: int) -> tuple[np.ndarray, np.ndarray]:
        """See `Annotated`."""
        path = self.images[index]
        return read_frame(path, shorter), _fitting(self.masks[index].read(), self.masks[index].path, path)


@dataclass
class AnnotatedGroup:
    """The images of a group that have a mask."""

    name: str
    group: Group
    chosen: Sequence[int]
    alike: bool = False

    def __len__(self) -> int:
        return len(self.chosen)

    def read(self, index: int, shorter: int) -> tuple[np.ndarray, np.ndarray]:
        """See `Annotated`."""
        number = self.chosen[index]
        mask, path = self.group.mask(number), self.group.masks[number]
        assert mask is not None
        assert path is not None
        return self.group.image(number), _fitting(mask, path, self.group.images[number])


def open_several(
    roots: Sequence[Path], kind: Kind | None = None, split: Sequence[str | None] | str | None = None
) -> list[Annotated]:
    """Opens the training data of several folders together; each video is as likely as any other.

    Args:
        roots: The folders.
        kind: Kind of all video datasets; None recognises each by its layout.
        split: Split of all of them, or one for each.

    Raises:
        InputError: there are not as many splits as folders, or a folder holds no image with a mask.
    """
    parts = zip(roots, splits_of(split, len(roots)), strict=True)
    return tell_apart([(root, source) for root, part in parts for source in open_annotated(root, kind, part)])


def splits_of(split: Sequence[str | None] | str | None, count: int) -> Sequence[str | None]:
    """The split of each of several datasets.

    Raises:
        InputError: there are not as many splits as datasets.
    """
    if split is None or isinstance(split, str):
        return [split] * count
    if len(split) != count:
        raise InputError(f"--split: gives {len(split)} splits for {count} of --data; give one for each, or one for all")
    return split


def tell_apart(found: Sequence[tuple[Path, Found]]) -> list[Found]:
    """What was found in several folders; of equal names, that of the folder is put before each.

    Folders with the same name are numbered.
    """
    count = Counter(each.name for _, each in found)
    roots = list(dict.fromkeys(root for root, _ in found))
    alike = Counter(map(own_name, roots))
    prefixes = {
        root: own_name(root) if alike[own_name(root)] == 1 else f"{own_name(root)}{number}"
        for number, root in enumerate(roots, 1)
    }
    for root, each in found:
        if count[each.name] > 1:
            each.name = f"{prefixes[root]}-{each.name}"
    return [each for _, each in found]


def open_annotated(root: Path, kind: Kind | None = None, split: str | None = None) -> Sequence[Annotated]:
    """Opens training data: annotated videos, or groups of images (for PASCAL VOC its training images).

    Args:
        root: Folder of the data.
        kind: Kind of video dataset; None recognises it by its layout.
        split: Split of that dataset.

    Raises:
        InputError: there is no image with a mask.
    """
    if find_dataset(root, kind) is not None:
        return annotated_videos(root, kind, split)
    if split is not None:
        raise InputError(f"--split {split}: {root} is no dataset of videos; leave it out")
    found = []
    for group in find_groups(root, "train" if (root / "SegmentationClass").is_dir() else None):
        chosen = [index for index, mask in enumerate(group.masks) if mask is not None]
        if chosen:
            found.append(AnnotatedGroup(group.name, group, chosen))
    if not found:
        raise InputError(f"{root}: no image has a mask; add <class>/{MASKS}/<image>.png")
    return found


def annotated_videos(root: Path, kind: Kind | None = None, split: str | None = None) -> list[AnnotatedFiles]:
    """The annotated frames of a dataset, sequence by sequence.

    Raises:
        InputError: there are no annotated frames, or a mask has no frame.
    """
    dataset = open_dataset(root, kind)
    found = []
    for name in dataset.sequences(split):
        masks, video = dataset.frames(name), dataset.video(name)
        frames = {path.stem: path for path in video.files}
        if missing := sorted(masks.keys() - frames.keys()):
            raise InputError(
                f"{masks[missing[0]].path}: has no frame {video.path / missing[0]}.jpg; add it or remove it"
            )
        found.append(AnnotatedFiles(name, [frames[key] for key in masks], list(masks.values())))
    return found


def saliency_images(root: Path) -> AnnotatedFiles:
    """Still images with masks of their salient objects: MSRA10K, DUT-OMRON, DUTS, or folders `images` and `masks`.

    Masks are thresholded at one half, because some, as in DUTS, have grey values along the object boundary.

    Raises:
        InputError: the folder has none of these layouts, or an image has no mask.
    """
    for images, masks in SALIENCY_LAYOUTS:
        if (root / images).is_dir() and (root / masks).is_dir():
            break
    else:
        known = ", ".join(f"{a} + {b}" if a != b else a for a, b in SALIENCY_LAYOUTS)
        raise InputError(f"{root}: holds no images with masks; give a folder with one of: {known}")
    truth = mask_files(root / masks)
    pictures = [path for stem, path in _images(root / images).items() if path != truth.get(stem)]
    if not pictures:
        raise InputError(f"{root / images}: holds no image; give the data set as it is published")
    for path in pictures:
        if path.stem not in truth:
            raise InputError(f"{path}: has no mask {root / masks / path.stem}.png; add it or remove the image")
    return AnnotatedFiles(root.name, pictures, [BinaryAnnotation(truth[path.stem]) for path in pictures], alike=False)


def check_stills(stills: AnnotatedFiles) -> None:
    """Opens every image and mask once, without decoding pixels, so that training does not fail midway.

    Raises:
        InputError: a file is not an image, has 16 bits per pixel, or a mask differs in size from its image.
    """
    for path, mask in track(list(zip(stills.images, stills.masks, strict=True)), f"{stills.name}: checking masks"):
        _fitting(np.broadcast_to(np.uint8(0), picture_size(mask.path)), mask.path, path)


def foreground_shares(sources: Sequence[Annotated]) -> list[float]:
    """Share of foreground among non-void pixels, for a few evenly spread images of each source.

    Raises:
        InputError: the image or mask cannot be read.
    """
    chosen = _spread(len(sources), LOOKED_AT)
    shares = []
    for source in (sources[i] for i in chosen):
        for index in _spread(len(source), LOOKED_AT // len(chosen)):
            mask = merged(source.read(index, shorter=1)[1])
            if (known := mask != VOID).any():
                shares.append(float((mask[known] == 1).mean()))
    return shares


def merged(mask: np.ndarray) -> np.ndarray:
    """A mask (H, W) uint8 whose objects are merged into one: 0 background, 1 foreground, 255 void."""
    return np.where(mask == VOID, VOID, mask > 0).astype(np.uint8)


def hold_out(names: Iterable[str], count: int) -> list[str]:
    """The `count` names held out for testing: those with the smallest SHA-256, independent of the other names.

    >>> hold_out(["camel", "dog", "goat"], 1)
    ['camel']
    """
    return sorted(sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[:count])


def _fitting(mask: np.ndarray, path: Path, image: PictureFile) -> np.ndarray:
    """The mask (H, W), if it is of the size of its image."""
    (high, wide), (height, width) = mask.shape, picture_size(image)
    if (high, wide) != (height, width):
        raise InputError(f"{path}: is {wide}x{high} and its image {width}x{height}; fetch it again")
    return mask


def _spread(length: int, most: int) -> list[int]:
    """At most `most` of `length` indices, evenly spread."""
    count = min(length, most)
    return [(2 * k + 1) * length // (2 * count) for k in range(count)]


def _images(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the root of a data set with its frames")
    by_stem: dict[str, Path] = {}
    for path in sorted(frame_files(folder)):
        if path.stem not in by_stem or path.suffix.lower() != ".png":  # a PNG beside a photo is its mask
            by_stem[path.stem] = path
    return by_stem
