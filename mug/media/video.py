"""Folders of frames and video files behind one interface."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mug.errors import InputError, warn
from mug.media.address import Address
from mug.media.files import natural_key
from mug.media.listing import (
    FILE_SUFFIXES,
    FRAME_SUFFIXES,
    OTHER_PICTURES,
    frame_files,
    holds,
    is_video,
    left_out,
    own_name,
    visible,
)
from mug.media.live import LiveVideo
from mug.media.pictures import PictureFile, read_frame
from mug.media.sequence import FOLDER_FPS, Video
from mug.media.stream import VideoFile

__all__ = ["FrameFolder", "LiveVideo", "Video", "VideoFile", "find_videos", "open_all", "open_video"]


class FrameFolder(Video):
    """A folder of frames (jpg, png, webp, tiff, ...), in natural order of their names.

    A warning lists unsupported pictures and videos beside the frames.

    Args:
        path: The folder.
        name: Name of the results; default: that of the folder.
        files: The frames to read; default: all in the folder.

    Raises:
        InputError: the folder has no frame, or two frames with one name; on reading: a frame is truncated, unreadable
            or of another size than the first.
    """

    def __init__(self, path: Path, name: str | None = None, files: Sequence[PictureFile] | None = None) -> None:
        self.path = Path(path)
        self.name = name or own_name(self.path)
        self.fps = FOLDER_FPS
        self.files: list[PictureFile] = list(frame_files(self.path) if files is None else files)
        strange = left_out(self.path) if files is None else ""
        if not self.files:
            but = f" but {strange}, which is not read as one" if strange else ""
            raise InputError(f"{self.path}: holds no frame{but}; give a folder of jpg or png files, or a video file")
        if strange:
            warn(f"{self.path}: its {len(self.files)} frames are read, and what lies beside them left out: {strange}")
        self.frame_names = [file.stem for file in self.files]
        twice = [name for name, count in Counter(self.frame_names).items() if count > 1]
        if twice:
            raise InputError(f"{self.path}: holds two frames named {twice[0]}; keep one of them")
        self.size = read_frame(self.files[0]).shape[:2]

    def _frame(self, index: int) -> np.ndarray:
        frame = read_frame(self.files[index])
        if frame.shape[:2] != self.size:
            found, expected = (f"{w}x{h}" for h, w in (frame.shape[:2], self.size))
            raise InputError(
                f"{self.files[index]}: is {found}, the first frame of its video {expected}; make all frames one size"
            )
        return frame


def open_video(path: Path | str | Address, name: str | None = None) -> Video:
    """Opens a folder of frames, a video file, or a camera or stream by its address (`0`, `rtsp://...`).

    Raises:
        InputError: the path does not exist, or cannot be read as a video.
    """
    if (address := Address.of(path)) is not None:
        return LiveVideo(address, name)
    path = Path(str(path))
    if path.is_dir():
        return FrameFolder(path, name)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check the path")
    suffix = path.suffix.lower()
    if suffix in FRAME_SUFFIXES | OTHER_PICTURES:
        raise InputError(f"{path}: is a single picture, no video; give the folder of frames that it lies in")
    if suffix not in FILE_SUFFIXES:
        raise InputError(f"{path}: is no video; give a folder of frames or a file such as .mp4, .mov, .mkv or .avi")
    return VideoFile(path, name)


def find_videos(path: Path) -> list[Video]:
    """All videos at a path: one video, the videos in a folder, or those of a dataset root in DAVIS layout.

    Names are unique: files whose names differ only in the suffix keep it.

    Raises:
        InputError: there are no videos, or none is readable.
    """
    path = Path(path)
    images = path / "JPEGImages"
    if images.is_dir():
        path = images / "480p" if (images / "480p").is_dir() else images
    if not path.is_dir() or frame_files(path):
        return [open_video(path)]
    entries = [entry for entry in visible(path) if is_video(entry)]
    if not entries:
        strange = f" but {left_out(path)}, which is not read" if holds(path, OTHER_PICTURES) else ""
        raise InputError(f"{path}: holds no video{strange}; give a video, a folder of videos or a dataset root")
    stems = Counter(_video_name(entry) for entry in entries)
    found = {_video_name(e) if stems[_video_name(e)] == 1 else e.name: e for e in entries}
    return open_all(sorted(found, key=natural_key), lambda name: open_video(found[name], name))


def open_all(names: Sequence[str], open_one: Callable[[str], Video]) -> list[Video]:
    """Opens videos by name; if only some cannot be opened, their errors are raised when they are read.

    Raises:
        InputError: none can be opened.
    """
    videos: list[Video] = []
    for name in names:
        try:
            videos.append(open_one(name))
        except InputError as error:
            videos.append(_Unreadable(name, error))
    if videos and all(isinstance(video, _Unreadable) for video in videos):
        open_one(names[0])
    return videos


class _Unreadable(Video):
    """Placeholder for a video that could not be opened."""

    def __init__(self, name: str, error: InputError) -> None:
        self.name, self._error = name, error

    def __getattr__(self, attribute: str) -> Any:
        if attribute in ("path", "frame_names", "size", "fps", "files"):
            raise self._error
        raise AttributeError(attribute)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._error})"

    @property
    def rough_length(self) -> int:
        return 0

    def _frame(self, index: int) -> np.ndarray:
        raise self._error


def _video_name(path: Path) -> str:
    return path.name if path.is_dir() else path.stem
