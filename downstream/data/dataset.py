"""What an annotated data set is asked for, whatever its layout and its encoding of masks."""

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
"""What `--dataset` may name."""


@dataclass(frozen=True)
class Annotation:
    """The mask of a frame as it lies on disk.

    Attributes:
        path: The file; of several files for one frame the first.
    """

    path: Path

    def read(self) -> np.ndarray:
        """HW uint8: 0 background, objects from 1, 255 void.

        Raises:
            InputError: it cannot be read, or is no mask.
        """
        return read_mask(self.path)


@dataclass(frozen=True)
class BinaryAnnotation(Annotation):
    """A mask of one object, cut at one half: it may have been stored with loss, or with a soft rim."""

    def read(self) -> np.ndarray:
        """See `Annotation`."""
        return read_binary(self.path)


@dataclass(frozen=True)
class ForegroundAnnotation(Annotation):
    """A mask whose objects count as one."""

    def read(self) -> np.ndarray:
        """See `Annotation`."""
        mask = read_mask(self.path)
        return np.where(mask == VOID, VOID, mask > 0).astype(np.uint8)


class Dataset(ABC):
    """Sequences with masks for some of their frames. Nothing but names is read before it is asked for.

    Args:
        root: The folder of the data set.

    Attributes:
        kind: What `--dataset` calls it.
        title: Its name.
        dense: Whether every frame is annotated, so that T can be measured.
    """

    kind: ClassVar[Kind]
    title: ClassVar[str]
    dense: ClassVar[bool] = False

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    @classmethod
    @abstractmethod
    def lies_in(cls, root: Path) -> bool:
        """Whether the folder `root` looks like a data set of this kind, perhaps a broken one."""

    @abstractmethod
    def check(self) -> None:
        """Raises `InputError` that names the first thing in the layout that is wrong."""

    @property
    def annotations(self) -> Path:
        """The folder that holds the masks of all sequences."""
        return self.root

    @abstractmethod
    def sequences(self, split: str | None = None) -> list[str]:
        """Names of the annotated sequences, in order; with `split` those of that part of the data set.

        Raises:
            InputError: there are none, or there is no such split.
        """

    @abstractmethod
    def frames(self, sequence: str) -> dict[str, Annotation]:
        """The annotations of a sequence in the order of its frames, by the name that the frame has in `video`."""

    @abstractmethod
    def video(self, sequence: str) -> FrameFolder:
        """All frames of a sequence.

        Raises:
            InputError: they are missing or cannot be read.
        """

    def videos(self, split: str | None = None) -> Sequence[Video]:
        """The frames of all sequences, for what needs no annotation."""
        return open_all(self.sequences(split), self.video)

    def given(self, sequence: str) -> dict[str, np.ndarray]:
        """What O-VOS starts from: by frame, in order, a mask of the objects that begin there.

        Here, the first annotation.

        Raises:
            InputError: nothing is annotated, or a mask cannot be read.
        """
        frames = self.frames(sequence)
        return {name: annotation.read() for name, annotation in list(frames.items())[:1]}

    def scored(self, split: str | None, given: bool) -> dict[str, list[str]]:
        """The annotated frames that count, by sequence; what has none is left out.

        Here: all of them; where the first is given, those after it.

        Args:
            split: See `sequences`.
            given: Whether masks are given (O-VOS).

        Raises:
            InputError: nothing is left to score.
        """
        frames = {name: list(self.frames(name))[int(given) :] for name in self.sequences(split)}
        left = {name: names for name, names in frames.items() if names}
        if not left:
            raise first_masks_alone(self.annotations)
        return left

    def steady(self) -> set[str] | None:
        """The sequences that the data set marks for T; None if it marks none."""
        return None

    def attributes(self) -> dict[str, list[str]]:
        """The sequences that have each attribute, by its name and sorted; empty if the data set marks none."""
        return {}

    def classes(self) -> dict[str, str]:
        """The class of every sequence, where the data set is scored class by class; else empty."""
        return {}


def first_masks_alone(place: Path) -> InputError:
    """What to say of annotations that are only there to start from."""
    return InputError(
        f"{place}: holds only the masks that are given, as test sets are published; their servers score results"
    )


def open_frames(folder: Path, sequence: str) -> FrameFolder:
    """The frames of a sequence.

    Raises:
        InputError: the folder is missing, empty, or its first frame cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; put the frames of {sequence} there")
    return FrameFolder(folder, sequence)


def some(names: Sequence[str], limit: int = 3) -> str:
    """The first few of many names.

    >>> some(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
