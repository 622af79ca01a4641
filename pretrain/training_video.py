"""The interface of an unlabeled training video, and a folder of frames as one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from mug.media.pictures import PictureFile
from mug.media.video import FrameFolder


class TrainingVideo(ABC):
    """A video as frames on disk, with random access.

    Attributes:
        name: Unique in its index; may contain a slash (`airplane/airplane-1`).
        place: The folder or archive of its frames.
        size: Height and width of the frames in pixels.
    """

    name: str
    place: Path
    size: tuple[int, int]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def file(self, index: int) -> PictureFile:
        """The file of frame `index`."""

    @abstractmethod
    def frame_name(self, index: int) -> str:
        """Name of frame `index` without suffix, also that of its label map."""

    def open(self) -> FrameFolder:
        """Opens the video for sequential reading."""
        return FrameFolder(self.place, self.name, [self.file(i) for i in range(len(self))])


@dataclass(frozen=True)
class FolderVideo(TrainingVideo):
    """A folder of frames."""

    name: str
    place: Path
    frames: tuple[str, ...]
    """File names in the folder."""
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.frames)

    def file(self, index: int) -> Path:
        """Path of frame `index`."""
        return self.place / self.frames[index]

    def frame_name(self, index: int) -> str:
        """See `TrainingVideo`."""
        return Path(self.frames[index]).stem
