"""Interface of annotated datasets, independent of layout and mask encoding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from mug.errors import InputError
from mug.media.masks import VOID, read_binary, read_mask
from mug.media.video import FrameFolder, Video, open_all

Kind = Literal[
    "davis16", "davis17", "davis17-unsupervised", "youtube-vos", "youtube-objects", "fbms", "segtrack", "folder"
]
"""Names for `--dataset`."""


@dataclass(frozen=True)
class Annotation:
    """The mask of a frame on disk.

    Attributes:
        path: The file; the first one if a frame has several.
    """

    path: Path

    def read(self) -> np.ndarray:
        """HW uint8: 0 background, objects from 1, 255 void.

        Raises:
            InputError: the file cannot be read, or is not a mask.
        """
        return read_mask(self.path)


@dataclass(frozen=True)
class BinaryAnnotation(Annotation):
    """A mask of one object, thresholded at one half because of lossy compression or soft edges."""

    def read(self) -> np.ndarray:
        """See `Annotation`."""
        return read_binary(self.path)


@dataclass(frozen=True)
class ForegroundAnnotation(Annotation):
    """A mask whose objects are merged into one."""

    def read(self) -> np.ndarray:
        """See `Annotation`."""
        mask = read_mask(self.path)
        return np.where(mask == VOID, VOID, mask > 0).astype(np.uint8)


class Dataset(ABC):
    """Sequences with masks for some of their frames. Only names are read until frames or masks are requested.

    Args:
        root: The folder of the dataset.

    Attributes:
        kind: Its name for `--dataset`.
        title: Its full name.
        dense: Whether every frame is annotated, as T requires.
    """

    kind: ClassVar[Kind]
    title: ClassVar[str]
    dense: ClassVar[bool] = False

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    @classmethod
    @abstractmethod
    def lies_in(cls, root: Path) -> bool:
        """Whether the folder `root` looks like a dataset of this kind, even a broken one."""

    @abstractmethod
    def check(self) -> None:
        """Raises an `InputError` that names the first fault in the layout."""

    @property
    def annotations(self) -> Path:
        """The folder that holds the masks of all sequences."""
        return self.root

    @abstractmethod
    def sequences(self, split: str | None = None) -> list[str]:
        """Names of the annotated sequences, in order; with `split`, only those of that split.

        Raises:
            InputError: there are no sequences, or there is no such split.
        """

    @abstractmethod
    def frames(self, sequence: str) -> dict[str, Annotation]:
        """The annotations of a sequence in frame order, keyed by the name of the frame in `video`."""

    @abstractmethod
    def video(self, sequence: str) -> FrameFolder:
        """All frames of a sequence.

        Raises:
            InputError: the frames are missing or cannot be read.
        """

    def videos(self, split: str | None = None) -> Sequence[Video]:
        """The frames of all sequences; annotations are not needed."""
        return open_all(self.sequences(split), self.video)

    def given(self, sequence: str) -> dict[str, np.ndarray]:
        """The masks that O-VOS starts from: for each frame, in order, a mask of the objects that first appear there.

        By default, the first annotation.

        Raises:
            InputError: a mask cannot be read.
        """
        frames = self.frames(sequence)
        return {name: annotation.read() for name, annotation in list(frames.items())[:1]}

    def scored(self, split: str | None, given: bool) -> dict[str, list[str]]:
        """The annotated frames that are scored, by sequence; a sequence may have none.

        By default all annotated frames, except the first if it is given.

        Args:
            split: See `sequences`.
            given: Whether first masks are given (O-VOS).

        Raises:
            InputError: no frame is left to score.
        """
        frames = {name: list(self.frames(name))[int(given) :] for name in self.sequences(split)}
        left = {name: names for name, names in frames.items() if names}
        if not left:
            raise first_masks_alone(self.annotations)
        return left

    def steady(self) -> set[str] | None:
        """The sequences that the dataset marks for T; None if it marks none."""
        return None

    def attributes(self) -> dict[str, list[str]]:
        """The sequences with each attribute, sorted by attribute; empty if the dataset has no attributes."""
        return {}

    def classes(self) -> dict[str, str]:
        """The class of each sequence if the dataset is scored per class; else empty."""
        return {}


def first_masks_alone(place: Path) -> InputError:
    """The error for annotations that contain only the given masks."""
    return InputError(
        f"{place}: holds only the masks that are given, as test sets are published; their servers score results"
    )


def open_frames(folder: Path, sequence: str) -> FrameFolder:
    """The frames of a sequence.

    Raises:
        InputError: the folder is missing or empty, or its first frame cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; put the frames of {sequence} there")
    return FrameFolder(folder, sequence)


def some(names: Sequence[str], limit: int = 3) -> str:
    """The first few names of a list, as text.

    >>> some(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
