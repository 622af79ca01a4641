"""Unlabeled video in tar files, as WebDataset writes its shards: read in place, with random access.

The reader of the library `webdataset` goes through a shard from front to back, and a training sample has frames from
all over a video. So the places of the frames are found once and kept in two numpy files, which are mapped, not loaded:
opening them takes no time, and processes share what they read of them.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple, overload

import numpy as np

from mug.errors import InputError
from mug.media.files import atomic_path, is_hidden, natural_key
from mug.media.listing import FILE_SUFFIXES, FRAME_SUFFIXES, OTHER_PICTURES
from mug.run.progress import track
from pretrain.training_video import TrainingVideo

TAR = ".tar"
Size = tuple[int, int]
"""Height and width in pixels."""


class Member(NamedTuple):
    """A file within a tar file, which can be read like a path."""

    tar: Path
    offset: int
    """Of its first byte in the tar file."""
    size: int
    """Number of bytes."""
    name: str
    """Its path within the tar file."""

    def __str__(self) -> str:
        return f"{self.tar}: {self.name}"

    @property
    def stem(self) -> str:
        """Its name without folder and suffix."""
        return PurePosixPath(self.name).stem

    def read_bytes(self) -> bytes:
        """The content; less of it if the tar file has been cut off."""
        with self.tar.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)

    def open(self, mode: Literal["rb"]) -> io.BytesIO:
        """The content as an open file."""
        return io.BytesIO(self.read_bytes())

    def copy_to(self, folder: Path, block: int = 2**22) -> Path:
        """Copies the file to a folder; returns its path there."""
        path, left = folder / PurePosixPath(self.name).name, self.size
        with self.tar.open("rb") as source, path.open("wb") as target:
            source.seek(self.offset)
            while left and (data := source.read(min(left, block))):
                target.write(data)
                left -= len(data)
        return path


@dataclass
class Contents:
    """What is found in tar files; names of folders are those within them."""

    folders: dict[tuple[Path, str], list[Member]] = field(default_factory=dict)
    """The pictures of each folder, by the first tar file that has some and the folder. Tar files that lie in the same
    folder go on with each other's."""
    files: list[Member] = field(default_factory=list)
    """Video files."""
    bad: list[str] = field(default_factory=list)
    """Complaints about files that cannot be used."""


def list_tars(tars: Sequence[Path]) -> Contents:
    """Lists the frames and video files in tar files; only their headers are read.

    Raises:
        InputError: one of them is no tar file, or compressed.
    """
    contents = Contents()
    known: dict[tuple[Path, str], list[Member]] = {}
    for tar in track(tars, "reading tar files"):
        for member in _members(tar, contents.bad):
            inside = PurePosixPath(member.name)
            suffix = inside.suffix.lower()
            if inside.is_absolute() or ".." in inside.parts:
                contents.bad.append(f"{member}: a name that leads out of its folder")
            elif any(map(is_hidden, inside.parts)):
                continue
            elif suffix in OTHER_PICTURES:
                contents.bad.append(f"{member}: a kind of picture that is not read")
            elif suffix in FILE_SUFFIXES:
                contents.files.append(member)
            elif suffix in FRAME_SUFFIXES:
                at = (tar.parent, str(inside.parent))
                if at not in known:
                    known[at] = contents.folders[tar, at[1]] = []
                known[at].append(member)
    for members in contents.folders.values():
        members.sort(key=lambda member: natural_key(PurePosixPath(member.name).name))
    return contents


def _members(tar: Path, bad: list[str]) -> Iterator[Member]:
    """The regular files of a tar file, without a list of them in memory."""
    try:
        with tarfile.open(tar, "r:") as archive:
            while (found := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # as the library does
                if found.isfile():
                    yield Member(tar, found.offset_data, found.size, found.name.removeprefix("./"))
    except tarfile.ReadError as error:
        if "unexpected end" not in str(error):
            raise InputError(
                f"{tar}: is no plain tar file, in which frames have a place; unpack a compressed one"
            ) from None
        bad.append(f"{tar}: is cut off; the files up to there are used")


FRAME = (("tar", "<i4"), ("offset", "<i8"), ("size", "<i8"))
VIDEO = (("first", "<i8"), ("frames", "<i4"), ("height", "<i4"), ("width", "<i4"))


@dataclass(frozen=True)
class TarVideo(TrainingVideo):
    """A video whose frames lie in tar files."""

    name: str
    size: tuple[int, int]
    tars: Sequence[Path]
    """The tar files of the index."""
    frames: np.ndarray
    """Tar file, offset, size and name of each frame, a view of the index."""

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def place(self) -> Path:  # type: ignore[override]  # computed
        """The tar file of the first frame."""
        return self.tars[self.frames[0]["tar"]]

    def file(self, index: int) -> Member:
        """The file of frame `index` within its tar file."""
        frame = self.frames[index]
        return Member(self.tars[frame["tar"]], int(frame["offset"]), int(frame["size"]), frame["name"].decode())

    def frame_name(self, index: int) -> str:
        """See `TrainingVideo`."""
        return PurePosixPath(self.frames[index]["name"].decode()).stem


class TarVideos(Sequence[TarVideo]):
    """The videos in tar files, by an index that `write` has made; it is mapped when the first video is asked for.

    Args:
        store: Path of the index without suffix.
        tars: The tar files.
    """

    def __init__(self, store: Path, tars: Sequence[Path]) -> None:
        self._store, self._tars = store, list(tars)

    def __len__(self) -> int:
        return len(self._videos)

    @overload
    def __getitem__(self, index: int) -> TarVideo: ...
    @overload
    def __getitem__(self, index: slice) -> list[TarVideo]: ...
    def __getitem__(self, index: int | slice) -> TarVideo | list[TarVideo]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        video = self._videos[index]
        first = int(video["first"])
        frames = self._frames[first : first + int(video["frames"])]
        return TarVideo(video["name"].decode(), (int(video["height"]), int(video["width"])), self._tars, frames)

    @property
    def is_there(self) -> bool:
        """Whether the files of the index exist."""
        return all(file.is_file() for file in files_of_index(self._store))

    @property
    def frames(self) -> int:
        """Number of frames of all videos."""
        return int(self._videos["frames"].sum())

    @cached_property
    def _videos(self) -> np.ndarray:
        return _mapped(files_of_index(self._store).videos)

    @cached_property
    def _frames(self) -> np.ndarray:
        return _mapped(files_of_index(self._store).frames)

    def __getstate__(self) -> dict[str, Any]:
        """Another process maps the index itself, instead of being sent it."""
        return {"_store": self._store, "_tars": self._tars}

    @classmethod
    def write(
        cls,
        store: Path,
        tars: Sequence[Path],
        videos: Sequence[tuple[str, Size, Sequence[Member]]],
    ) -> TarVideos:
        """Writes the index of videos, each with its name, size and frames."""
        number = {tar: i for i, tar in enumerate(tars)}
        count = sum(len(frames) for _, _, frames in videos)
        longest = max((len(frame.name.encode()) for _, _, frames in videos for frame in frames), default=1)
        rows = np.empty(count, [*FRAME, ("name", f"S{longest}")])
        table = np.empty(len(videos), [*VIDEO, ("name", f"S{max([len(v[0].encode()) for v in videos], default=1)}")])
        first = 0
        for video, (name, (height, width), frames) in enumerate(videos):
            table[video] = first, len(frames), height, width, name.encode()
            for frame in frames:
                rows[first] = number[frame.tar], frame.offset, frame.size, frame.name.encode()
                first += 1
        for file, array in zip(files_of_index(store), (table, rows), strict=True):
            with atomic_path(file) as temporary:
                np.save(temporary, array)
        return cls(store, tars)


class IndexFiles(NamedTuple):
    """The files of an index."""

    videos: Path
    frames: Path


def files_of_index(store: Path) -> IndexFiles:
    """The files of the index at a path without suffix."""
    return IndexFiles(*(store.with_name(f"{store.name}.{part}.npy") for part in IndexFiles._fields))


def _mapped(file: Path) -> np.ndarray:
    array: np.ndarray = np.load(file, mmap_mode="r")
    return array


def expand(path: Path) -> list[Path]:
    """The paths of a pattern such as `shard-{000000..000003}.tar`; any other path by itself.

    Raises:
        InputError: it is a pattern, and the package that reads it is missing.
    """
    if "{" not in str(path) or path.exists():
        return [path]
    try:
        from braceexpand import braceexpand
    except ModuleNotFoundError:
        raise InputError(
            f"{path}: reading this pattern takes another package; pip install 'mug-vos[webdataset]', or name the files"
        ) from None
    return [Path(each) for each in braceexpand(str(path))]
