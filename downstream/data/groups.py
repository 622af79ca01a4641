"""Groups of images that show one object class, for co-segmentation (AGNN Sec. 4.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mug.errors import InputError
from mug.media.listing import by_stem, frame_files, is_video, mask_files, own_name, subfolders
from mug.media.masks import VOID, read_mask
from mug.media.pictures import read_frame
from mug.run.progress import track

MASKS = "GroundTruth"
"""Mask folder of a group."""
VOC_CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
"""Classes of PASCAL VOC; their mask ids start at 1."""
VOC_SPLITS = ("train", "val", "test")
_LAYOUTS = "give folders <class>/<image>.jpg with <class>/GroundTruth/<image>.png, or PASCAL VOC 2012"


@dataclass(frozen=True)
class Group:
    """Images of one class; images and masks are read on demand.

    Attributes:
        name: The class.
        images: Its image files, in natural order of their names.
        masks: The mask file of each image; None for an image without one.
        label: Mask id of the object; None: every id except 0 and void.
    """

    name: str
    images: Sequence[Path]
    masks: Sequence[Path | None]
    label: int | None = None

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> np.ndarray:
        """Image `index`, HWC uint8 RGB.

        Raises:
            InputError: the image is truncated or unreadable.
        """
        return read_frame(self.images[index])

    def mask(self, index: int) -> np.ndarray | None:
        """Mask of image `index`, HW uint8: 0 background, 1 object, 255 void; None if the image has no mask.

        Raises:
            InputError: the file is unreadable or not a mask.
        """
        path = self.masks[index]
        if path is None:
            return None
        ids = read_mask(path, lone_void=self.label is not None)
        mask = ids != 0 if self.label is None else ids == self.label
        return np.where(ids == VOID, VOID, mask).astype(np.uint8)


def find_groups(root: Path, split: str | None = None) -> list[Group]:
    """All groups of a folder, sorted by name.

    Three layouts are supported:

    - `ROOT/<class>/<image>.jpg`, with optional masks in `ROOT/<class>/GroundTruth/<image>.png`. This is the layout of
      `Airplane100`, `Car100` and `Horse100`, the subset of the Internet images (Rubinstein et al. 2013) with 100 images
      per class. Folders without images are ignored.
    - A single such class: `ROOT/<image>.jpg`.
    - PASCAL VOC 2012 (`JPEGImages`, `SegmentationClass`, `ImageSets/Segmentation`): one group per class, of the images
      whose mask contains it. `split` is `train` (train.txt), or one half of val.txt: `val` is the first 724 of its
      1,449 lines, `test` the last 725. The papers give the sizes of the halves but do not list their images.

    Raises:
        InputError: the layout is wrong; names the first fault.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; {_LAYOUTS}")
    if any((root / name).is_dir() for name in ("JPEGImages", "SegmentationClass")):
        return _voc_groups(root, split)
    if split is not None:
        raise InputError(f"--split {split}: {root} is no PASCAL VOC 2012, which alone has splits; leave it out")
    if frame_files(root):
        return [_folder_group(root)]
    folders = [folder for folder in subfolders(root) if (folder / MASKS).is_dir() or is_video(folder)]
    if not folders:
        raise InputError(f"{root}: holds no group of images; {_LAYOUTS}")
    return [_folder_group(folder) for folder in folders]


def _folder_group(folder: Path) -> Group:
    images = frame_files(folder)
    names = [path.stem for path in images]
    if not images:
        raise InputError(f"{folder}: holds {MASKS} but no image; put the images beside that folder")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"{folder}: holds two images named {twice[0]}; keep one of them")
    masks = by_stem(frame_files(folder / MASKS))
    if strange := [path for name, path in masks.items() if name not in names]:
        raise InputError(f"{strange[0]}: is a mask without an image in {folder}; name masks as their images")
    return Group(own_name(folder), images, [masks.get(name) for name in names])


def _voc_groups(root: Path, split: str | None) -> list[Group]:
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        if not (root / part).is_dir():
            raise InputError(f"{root}: has no folder {part}; {_LAYOUTS}")
    if split not in VOC_SPLITS:
        given = "is not given" if split is None else f"{split} is none of PASCAL VOC"
        raise InputError(f"{root}: --split {given}; use {', '.join(VOC_SPLITS)}")
    names = _voc_names(root, split)
    images_of, masks_of = by_stem(frame_files(root / "JPEGImages")), mask_files(root / "SegmentationClass")
    images = [images_of.get(name, root / "JPEGImages" / f"{name}.jpg") for name in names]
    masks = [masks_of.get(name, root / "SegmentationClass" / f"{name}.png") for name in names]
    for path in (path for pair in zip(images, masks, strict=True) for path in pair):
        if not path.is_file():
            raise InputError(f"{path}: is missing, though ImageSets/Segmentation names it; unpack VOC2012 anew")
    members: dict[int, list[int]] = {label: [] for label in range(1, len(VOC_CLASSES) + 1)}
    for index, path in enumerate(track(masks, "reading masks")):
        for label in np.unique(read_mask(path, lone_void=True)):
            if label not in (0, VOID):
                if label not in members:
                    raise InputError(f"{path}: holds class {label}, and PASCAL VOC has 20; unpack VOC2012 anew")
                members[int(label)].append(index)
    return [
        Group(VOC_CLASSES[label - 1], [images[i] for i in found], [masks[i] for i in found], label)
        for label, found in members.items()
        if found
    ]


def _voc_names(root: Path, split: str) -> list[str]:
    path = root / "ImageSets" / "Segmentation" / ("train.txt" if split == "train" else "val.txt")
    if not path.is_file():
        raise InputError(f"{path}: no such list of images; unpack VOC2012 anew")
    names = path.read_text().split()
    half = len(names) // 2
    names = {"train": names, "val": names[:half], "test": names[half:]}[split]
    if not names:
        raise InputError(f"{path}: names no image for the split {split}; unpack VOC2012 anew")
    return names
