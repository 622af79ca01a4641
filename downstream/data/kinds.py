"""Recognises and opens datasets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from downstream.data.dataset import Dataset, Kind
from downstream.data.davis import Davis16, Davis17, Davis17Unsupervised
from downstream.data.fbms import FBMS
from downstream.data.folder import Folder
from downstream.data.segtrack import SegTrack
from downstream.data.youtube_objects import YouTubeObjects
from downstream.data.youtube_vos import YouTubeVOS
from mug.errors import InputError
from mug.media.address import Address
from mug.media.video import Video, find_videos, open_video

# in order of recognition: a folder with `Annotations` is DAVIS only if it matches no more specific dataset
KINDS: tuple[type[Dataset], ...] = (
    YouTubeVOS,
    YouTubeObjects,
    FBMS,
    SegTrack,
    Davis17Unsupervised,
    Davis16,
    Davis17,
    Folder,
)


def find_dataset(path: Path, kind: Kind | None = None) -> Dataset | None:
    """The dataset at a path, unchecked; None if there is no known dataset.

    Args:
        path: Folder of the dataset.
        kind: Kind of dataset; None recognises it by its layout.
    """
    path = Path(path)
    if kind is not None:
        return next(found for found in KINDS if found.kind == kind)(path)
    return next((found(path) for found in KINDS if path.is_dir() and found.lies_in(path)), None)


def open_dataset(root: Path, kind: Kind | None = None) -> Dataset:
    """Opens an annotated dataset and checks its layout.

    Args:
        root: Folder of the dataset.
        kind: Kind of dataset; None recognises it by its layout.

    Raises:
        InputError: there is no known dataset, or its layout is wrong; names the first fault.
    """
    if not Path(root).is_dir():
        raise InputError(f"{root}: no such folder; give the root of a dataset")
    dataset = find_dataset(root, kind)
    if dataset is None:
        known = ", ".join(sorted(found.kind for found in KINDS))
        raise InputError(f"{root}: is no dataset that is known; say which with --dataset ({known})")
    dataset.check()
    return dataset


def open_videos(path: Path | Address, kind: Kind | None = None, split: str | None = None) -> Sequence[Video]:
    """All videos of a dataset or a folder of videos, or a single video; they are named after their sequences.

    Args:
        path: A dataset, a folder of videos, a video, or the address of a stream.
        kind: Kind of dataset; None recognises it by its layout.
        split: Split of a dataset.

    Raises:
        InputError: there is no video, or it cannot be read.
    """
    dataset = None if isinstance(path, Address) else find_dataset(path, kind)
    if dataset is not None:
        videos = dataset.videos(split)
        if not videos:
            dataset.check()
        return videos
    if split is not None:
        raise InputError(f"--split {split}: {path} is no dataset that is known; leave it out")
    return [open_video(path)] if isinstance(path, Address) else find_videos(path)
