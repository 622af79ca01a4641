"""Videos of any kind behind one interface: a folder of frames or a video file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mug.errors import InputError
from mug.media.files import natural_key

FRAME_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp"}
FILE_SUFFIXES = {".mp4", ".avi", ".mov", ".mkv", ".webm"}
FOLDER_FPS = 24.0
"""Frames a second of a folder of frames, which cannot say it itself: the rate of DAVIS."""


class Video(ABC, Sequence[np.ndarray]):
    """A sequence of RGB frames, HWC uint8, all of one size.

    Attributes:
        path: Where it lies.
        name: What its results are called.
        frame_names: Name of each frame, without suffix.
        size: Height and width in pixels.
        fps: Frames a second.
    """

    path: Path
    name: str
    frame_names: Sequence[str]
    size: tuple[int, int]
    fps: float

    def __len__(self) -> int:
        return len(self.frame_names)

    def __getitem__(self, index: Any) -> Any:
        """Frame `index`, HWC uint8 RGB; a slice gives a list of frames."""
        if isinstance(index, slice):
            return [self._frame(i) for i in range(len(self))[index]]
        return self._frame(range(len(self))[index])

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self._frame(i) for i in range(len(self)))

    def __repr__(self) -> str:
        height, width = self.size
        return f"{type(self).__name__}({str(self.path)!r}: {len(self)} frames, {width}x{height}, {self.fps:g} fps)"

    @abstractmethod
    def _frame(self, index: int) -> np.ndarray: ...


class FrameFolder(Video):
    """A folder of jpg, jpeg, png or bmp frames, in natural order of their names.

    Args:
        path: The folder.
        name: What its results are called, if not like the folder.
        files: The frames to read, if not all of the folder.

    Raises:
        InputError: the folder has no frame, or two frames of one name; on reading a frame: it is truncated, unreadable
            or of another size than the first.
    """

    def __init__(self, path: Path, name: str | None = None, files: Sequence[Path] | None = None) -> None:
        self.path = Path(path)
        self.name = name or self.path.resolve().name
        self.fps = FOLDER_FPS
        self.files = frame_files(self.path) if files is None else list(files)
        if not self.files:
            raise InputError(f"{self.path}: holds no frame; give a folder of jpg, png or bmp files, or a video file")
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


class VideoFile(Video):
    """A video file, decoded as it is read, so that memory does not grow with its length.

    Frames are told apart by their time stamps, which are read once without decoding; a file whose stamps cannot serve
    (some AVI files have none) is decoded once to count its frames. A display rotation, as phones write it, is applied.

    Raises:
        InputError: the file is no video or none of its frames can be decoded; on reading: a frame cannot be decoded.
    """

    def __init__(self, path: Path, name: str | None = None) -> None:
        self.path = Path(path)
        self.name = name or self.path.stem
        first, self.fps = self._open()
        self.size = _to_rgb(first).shape[:2]
        stamps = self._demux_stamps()
        # packets before the first frame that decodes belong to a group whose beginning was cut off
        self._stamps = [s for s in stamps if s >= first.pts] if stamps and first.pts is not None else []
        count = len(self._stamps) or sum(1 for _ in self._decode(0))
        self.frame_names = [f"{i:05d}" for i in range(count)]
        self._cursor: Iterator[tuple[int, Any]] = iter(())
        self._next = count  # no frame lies ahead of an empty cursor

    def __iter__(self) -> Iterator[np.ndarray]:
        expected = 0
        for index, frame in self._decode(0):
            if index != expected:
                break
            yield self._rgb(frame)
            expected += 1
        if expected < len(self):
            raise self._undecodable(expected)

    def _frame(self, index: int) -> np.ndarray:
        ahead = index - self._next
        if not 0 <= ahead < 8:  # a short way ahead, decoding on is quicker than seeking
            self._cursor = self._decode(index)
        # a container that seeks badly may land behind the frame: then from the beginning
        for cursor in (self._cursor, self._decode(index, seek=False)):
            self._cursor = cursor
            for at, frame in cursor:
                self._next = at + 1
                if at == index:
                    return self._rgb(frame)
                if at > index:
                    break
        self._next = len(self)
        raise self._undecodable(index)

    def _rgb(self, frame: Any) -> np.ndarray:
        rgb = _to_rgb(frame)
        if rgb.shape[:2] != self.size:
            raise InputError(f"{self.path}: its frames change size; re-encode it to one size")
        return rgb

    def _undecodable(self, index: int) -> InputError:
        return InputError(f"{self.path}: frame {index} cannot be decoded; re-encode or cut the video")

    def _open(self) -> tuple[Any, float]:
        """First decodable frame and frames a second."""
        import av

        try:
            with av.open(str(self.path)) as container:
                if not container.streams.video:
                    raise InputError(f"{self.path}: has no video stream; give a video file")
                stream = container.streams.video[0]
                for frame in container.decode(stream):
                    return frame, float(stream.average_rate or stream.guessed_rate or FOLDER_FPS)
        except (av.FFmpegError, OSError) as error:
            raise InputError(f"{self.path}: cannot be read as a video; re-encode it, or fetch it again") from error
        raise InputError(f"{self.path}: has no decodable frame; re-encode it, or fetch it again")

    def _demux_stamps(self) -> list[int]:
        """Presentation stamps of all frames in order, none where they do not tell the frames apart."""
        import av

        stamps: list[int] = []
        try:
            with av.open(str(self.path)) as container:
                for packet in container.demux(container.streams.video[0]):
                    if packet.size == 0 or packet.is_discard:
                        continue
                    if packet.pts is None:
                        return []
                    stamps.append(packet.pts)
        except av.FFmpegError:  # the tail is cut off: what came before it counts
            pass
        stamps.sort()
        return stamps if len(set(stamps)) == len(stamps) else []

    def _decode(self, start: int, seek: bool = True) -> Iterator[tuple[int, Any]]:
        """(index, frame) of the frames from `start` on; seeks to the key frame before it where stamps allow."""
        import av

        try:
            with av.open(str(self.path)) as container:
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                if seek and start > 0 and self._stamps:
                    container.seek(self._stamps[start], stream=stream)
                for count, frame in enumerate(container.decode(stream)):
                    index = self._index_of(frame.pts) if self._stamps else count
                    if index is not None and index >= start:
                        yield index, frame
        except av.FFmpegError:
            return  # the caller misses the frame and says which

    def _index_of(self, stamp: int | None) -> int | None:
        if stamp is None:
            return None
        index = bisect_left(self._stamps, stamp)
        return index if index < len(self._stamps) and self._stamps[index] == stamp else None


def open_video(path: Path, name: str | None = None) -> Video:
    """Opens a folder of frames or a video file.

    Raises:
        InputError: nothing is there, or nothing in it can be read as a video.
    """
    path = Path(path)
    if path.is_dir():
        return FrameFolder(path, name)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check the path")
    if path.suffix.lower() not in FILE_SUFFIXES:
        raise InputError(f"{path}: is no video; give a folder of frames or one of {', '.join(sorted(FILE_SUFFIXES))}")
    return VideoFile(path, name)


def find_videos(path: Path) -> list[Video]:
    """All videos at a path: one video, the videos of a folder, or those of a dataset root in DAVIS layout.

    Names are unique: files that differ in nothing but the suffix keep it.

    Raises:
        InputError: there is none.
    """
    path = Path(path)
    images = path / "JPEGImages"
    if images.is_dir():
        path = images / "480p" if (images / "480p").is_dir() else images
    if not path.is_dir() or frame_files(path):
        return [open_video(path)]
    entries = [entry for entry in path.iterdir() if is_video(entry)]
    if not entries:
        raise InputError(f"{path}: holds no video; give a video, a folder of videos or a dataset root")
    stems = Counter(_video_name(entry) for entry in entries)
    names = {e: _video_name(e) if stems[_video_name(e)] == 1 else e.name for e in entries}
    return [open_video(entry, names[entry]) for entry in sorted(entries, key=lambda e: natural_key(names[e]))]


def is_video(path: Path) -> bool:
    """Whether `path` looks like a video: a folder with a frame in it, or a file with a video's suffix."""
    if path.name.startswith("."):
        return False
    return bool(frame_files(path)) if path.is_dir() else path.suffix.lower() in FILE_SUFFIXES


def frame_files(folder: Path) -> list[Path]:
    """The frames in a folder, in natural order; hidden files are none."""
    found = (f for f in folder.iterdir() if f.suffix.lower() in FRAME_SUFFIXES and not f.name.startswith("."))
    return sorted(found, key=lambda f: natural_key(f.name))


def read_frame(path: Path, shorter: int | None = None) -> np.ndarray:
    """Reads a frame as HWC uint8 RGB.

    Args:
        path: A jpg, png or bmp file.
        shorter: Where given, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as its shorter side keeps
            this many pixels, which is several times faster.

    Raises:
        InputError: the file is missing, truncated, 16-bit or no image.
    """
    try:
        with Image.open(path) as image:
            if shorter is not None and (scale := shorter / min(image.size)) < 1:
                width, height = image.size
                image.draft("RGB", (int(np.ceil(width * scale)), int(np.ceil(height * scale))))
            if image.mode.startswith(("I", "F")):
                raise InputError(f"{path}: holds 16 bits a pixel; save it with 8 bits a channel")
            frame = np.array(image.convert("RGB"))
        if Path(path).suffix.lower() in (".jpg", ".jpeg") and not has_jpeg_end(path):
            raise InputError(f"{path}: is truncated; write it anew or remove it")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such frame; check the path") from error
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot be decoded, it may be truncated; write it anew or remove it") from error
    return frame


def fit_size(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    """Height and width with the shorter side at most `shorter` pixels, the aspect kept."""
    scale = min(1.0, shorter / min(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def has_jpeg_end(path: Path) -> bool:
    """Whether the end marker of a JPEG stands in the last bytes of the file (some writers add padding)."""
    with Path(path).open("rb") as file:
        head = file.read(2)
        if head != b"\xff\xd8":
            return head[:2] != b"" and head != b"\xff"  # another format under a JPEG's name
        file.seek(0, 2)
        file.seek(max(2, file.tell() - 4096))
        return b"\xff\xd9" in file.read()


def _video_name(path: Path) -> str:
    return path.name if path.is_dir() else path.stem


def _to_rgb(frame: Any) -> np.ndarray:
    """A decoded PyAV frame as HWC uint8 RGB, turned the way it is shown."""
    rgb = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4  # counter-clockwise
    return np.ascontiguousarray(np.rot90(rgb, turns)) if turns else rgb
