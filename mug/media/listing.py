"""Listing of pictures, masks and videos in folders; suffixes match in any case.

Hidden files and folders (`._00000.jpg`, `.ipynb_checkpoints`) are ignored.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from mug.media.files import is_hidden, natural_key

FRAME_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm"}
)
"""Picture formats that are read as frames."""
OTHER_PICTURES = frozenset(
    {".avif", ".heic", ".heif", ".jxl", ".jp2", ".j2k", ".jpx", ".tga", ".exr", ".hdr", ".dng", ".cr2", ".cr3", ".nef"}
    | {".arw", ".orf", ".rw2", ".raf", ".psd", ".svg", ".pbm", ".pcx", ".ico", ".dds", ".dpx"}
)
"""Picture formats that are not supported; such files are reported if they are next to frames."""
FILE_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".qt", ".avi", ".divx", ".mkv", ".webm", ".mpg", ".mpeg", ".mpe", ".m2v", ".vob", ".wmv"}
    | {".asf", ".flv", ".f4v", ".3gp", ".3g2", ".ts", ".mts", ".m2ts", ".mxf", ".ogv", ".rm", ".rmvb", ".gif"}
    | {".y4m", ".h264", ".264", ".h265", ".265", ".hevc", ".mjpg", ".mjpeg", ".dv", ".nut"}
)
"""Video formats, including GIF."""
MASK_SUFFIXES = frozenset({".png"})


def own_name(path: Path) -> str:
    """The name of a file or folder as the user gave it: links are not resolved, `.` is the name of the folder.

    >>> own_name(Path("videos/bear/../dog"))
    'dog'
    """
    return Path(os.path.abspath(path)).name


def roots_of(paths: Path | str | Sequence[Path | str]) -> list[Path]:
    """The folders or files of an option that takes one or several, as a list."""
    return [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]


def in_words(paths: Path | Sequence[Path]) -> str:
    """The same for messages."""
    return ", ".join(map(str, roots_of(paths)))


def visible(folder: Path) -> Iterator[Path]:
    """The visible entries of a folder, in any order; none if it is missing."""
    return (path for path in folder.iterdir() if not is_hidden(path.name)) if folder.is_dir() else iter(())


def holds(folder: Path, suffixes: Collection[str]) -> bool:
    """Whether a folder contains a file with one of the suffixes (given in lower case)."""
    return any(path.suffix.lower() in suffixes for path in visible(folder))


def files_of(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """The files of a folder with one of the suffixes (given in lower case), in natural order."""
    return _sorted(path for path in visible(folder) if path.suffix.lower() in suffixes)


def files_below(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Like `files_of`, for a folder and all its subfolders."""
    below = [path for inner in subfolders(folder) for path in files_below(inner, suffixes)]
    return files_of(folder, suffixes) + below


def subfolders(folder: Path) -> list[Path]:
    """The subfolders of a folder, in natural order; none if it is missing."""
    return _sorted(path for path in visible(folder) if path.is_dir())


def frame_files(folder: Path) -> list[Path]:
    """The frames in a folder, in natural order."""
    return files_of(folder, FRAME_SUFFIXES)


def mask_files(folder: Path) -> dict[str, Path]:
    """The PNG files of a folder by name without suffix, in natural order."""
    return by_stem(files_of(folder, MASK_SUFFIXES))


def by_stem(files: Iterable[Path]) -> dict[str, Path]:
    """Files by name without suffix, in natural order (`2` before `10`)."""
    return {path.stem: path for path in sorted(files, key=lambda path: natural_key(path.stem))}


def sequence_folders(folder: Path) -> list[str]:
    """Sorted names of the subfolders of `folder` that contain PNG files."""
    return sorted(path.name for path in subfolders(folder) if holds(path, MASK_SUFFIXES))


def is_video(path: Path) -> bool:
    """Whether `path` looks like a video: a folder that contains a picture, or a file with a video suffix.

    Unsupported picture formats count too: they are reported when the video is opened.
    """
    if is_hidden(path.name):
        return False
    if path.is_dir():
        return holds(path, FRAME_SUFFIXES | OTHER_PICTURES)
    return path.suffix.lower() in FILE_SUFFIXES


def left_out(folder: Path) -> str:
    """The pictures and videos of a folder that are not used as frames, in words; empty if there are none.

    Example: `3 .heic and 1 .mp4`.
    """
    strange = Counter(path.suffix.lower() for path in files_of(folder, OTHER_PICTURES | FILE_SUFFIXES))
    return " and ".join(f"{count} {suffix}" for suffix, count in sorted(strange.items()))


def _sorted(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: natural_key(path.name))
