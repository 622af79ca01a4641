"""Video files, also those within tar files, as folders of JPEG frames that are written once."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from mug.errors import InputError
from mug.media.files import atomic_path, require_free_disk
from mug.media.video import VideoFile
from mug.run.progress import track
from mug.run.settings import digest
from pretrain.tars import Member

COMPLAINT = "complaint.txt"
"""File beside the frames that says why they are not all."""


def unpack_all(
    files: Sequence[Path | Member], cache: Path, shorter: int | None, bad: list[str]
) -> Iterator[Path | None]:
    """Yields the folder of frames of each video file, None if it is unreadable; existing folders are reused.

    Args:
        files: The video files.
        cache: The folder for all of these folders.
        shorter: Shorter side in pixels to which frames are scaled down; None to keep their size.
        bad: Receives complaints about unreadable files.
    """
    if not files:
        return
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        work = pool.map(lambda file: _unpack(file, cache, shorter), files)
        for folder, complaint in track(work, "unpacking videos", len(files)):
            if complaint:
                bad.append(complaint)
            yield folder


def _unpack(file: Path | Member, cache: Path, shorter: int | None) -> tuple[Path | None, str]:
    """Writes the frames of a video file as JPEGs; the folder appears only when it is complete."""
    path, part = (file.tar, [file.offset, file.size]) if isinstance(file, Member) else (file, [])
    status = path.stat()
    key = digest([str(path.resolve()), *part, status.st_size, status.st_mtime_ns, shorter])
    folder = cache / "frames" / f"{file.stem}-{key}"
    complaint = folder / COMPLAINT
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with _as_path(file, cache) as path:
            try:
                _write(VideoFile(path), file, folder, shorter)
            except InputError as error:
                return None, str(error).replace(str(path), str(file))
    return folder, complaint.read_text() if complaint.exists() else ""


@contextmanager
def _as_path(file: Path | Member, cache: Path) -> Iterator[Path]:
    """The path of a file, of one in a tar file that of a copy for as long as it is needed."""
    if isinstance(file, Path):
        yield file
        return
    require_free_disk(cache, file.size + 2**20)
    with tempfile.TemporaryDirectory(prefix=".", dir=cache) as folder:
        yield file.copy_to(Path(folder))


def _write(video: VideoFile, file: Path | Member, folder: Path, shorter: int | None) -> None:
    """Writes the folder of frames of a video file."""
    scale = min(1.0, shorter / min(video.size)) if shorter else 1.0
    size = round(video.size[1] * scale), round(video.size[0] * scale)
    require_free_disk(folder.parents[1], int(len(video) * size[0] * size[1] * 0.3) + 2**20)
    try:
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            complaint = _write_frames(video, temporary, size)
            if complaint:
                (temporary / COMPLAINT).write_text(complaint.replace(str(video.path), str(file)))
    except OSError:
        if not folder.is_dir():  # else another process was faster
            raise


def _write_frames(video: VideoFile, folder: Path, size: tuple[int, int]) -> str:
    """Writes the frames; returns why only those so far can be decoded, if so."""
    frames = iter(video)
    for name in video.frame_names:
        try:
            image = Image.fromarray(next(frames))
        except InputError as error:
            return str(error)
        if image.size != size:
            image = image.resize(size, Image.Resampling.BILINEAR)
        image.save(folder / f"{name}.jpg", quality=92)
    return ""
